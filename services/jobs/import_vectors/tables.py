"""Tables in files: Parquet, CSV and JSON lines, read in batches, so that memory does not grow with the rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from services.jobs.import_vectors.columns import Columns, is_vector, vector_columns
from store import files
from store.errors import BadSource, StoreError
from store.sources import open_parquet

BLOCK = 16 << 20
"""Bytes of a CSV or JSON file that are parsed at a time. A row must fit into it."""

PARQUET_ROWS = 16384
"""Rows of a Parquet file that are read at a time."""

MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks of UTF-16. Arrow skips that of UTF-8 by itself."""


class TableFile(ABC):
    """A file of rows and named columns. Each call of `batches` reads it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.types = self._types()

    @abstractmethod
    def _types(self) -> dict[str, pa.DataType]:
        """Return the type of each column, as far as the file says it."""

    @abstractmethod
    def batches(self, texts: Sequence[str], vectors: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """Yield the columns in the order of the rows.

        Args:
            texts: columns that are read as text where the file leaves the type open.
            vectors: columns that are read as floats where the file leaves the type open.

        Raises BadSource for a file that is damaged.
        """

    def wide(self, columns: Columns) -> list[str]:
        """Return the columns of vectors, see `vector_columns`."""
        return vector_columns(columns, self.types, self.path)

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the file. Raises BadSource if it cannot be read, or if it is found damaged meanwhile."""
        try:
            with files.open_regular(self.path) as file:
                yield file
        except StoreError as error:
            raise BadSource(str(error)) from error
        except OSError as error:
            raise BadSource(f"{self.path} cannot be read: {error.strerror or error}") from error
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise BadSource(f"{self.path} cannot be read: {error}") from error


class Parquet(TableFile):
    def _types(self) -> dict[str, pa.DataType]:
        with open_parquet(self.path) as file:
            return {field.name: field.type for field in file.schema_arrow}

    def batches(self, texts: Sequence[str], vectors: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        with open_parquet(self.path) as file:
            yield from file.iter_batches(PARQUET_ROWS, columns=[*texts, *vectors])


class Csv(TableFile):
    """Text is UTF-8, or UTF-16 with a byte order mark. Lines end with LF, CR LF or CR."""

    def _types(self) -> dict[str, pa.DataType]:
        with self._reader({}) as reader:
            return dict(zip(reader.schema.names, reader.schema.types, strict=True))

    def batches(self, texts: Sequence[str], vectors: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        types = dict.fromkeys(vectors, pa.float64()) | dict.fromkeys(texts, pa.string())
        with self._reader(types, [*texts, *vectors]) as reader:
            yield from reader

    @contextmanager
    def _reader(self, types: Mapping[str, pa.DataType], only: list[str] | None = None) -> Iterator[Any]:
        with self._opened() as file:
            encoding = MARKS.get(file.read(2), "utf8")
            file.seek(0)
            with pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(block_size=BLOCK, encoding=encoding),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict(types), include_columns=only, strings_can_be_null=True, null_values=[""]
                ),
            ) as reader:
                yield reader


class JsonLines(TableFile):
    def _types(self) -> dict[str, pa.DataType]:
        with self._reader({}) as reader:
            return dict(zip(reader.schema.names, reader.schema.types, strict=True))

    def batches(self, texts: Sequence[str], vectors: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        types = {name: pa.list_(pa.float64()) if is_vector(self.types[name]) else pa.float64() for name in vectors}
        with self._reader(types) as reader:
            for batch in reader:
                yield batch.select([*texts, *vectors])

    @contextmanager
    def _reader(self, types: Mapping[str, pa.DataType]) -> Iterator[Any]:
        known = pa.schema(list(types.items())) if types else None
        with self._opened() as file:
            yield pa_json.open_json(
                file,
                read_options=pa_json.ReadOptions(block_size=BLOCK),
                parse_options=pa_json.ParseOptions(explicit_schema=known),
            )


KINDS: dict[str, Callable[[Path], TableFile]] = {
    ".parquet": Parquet,
    ".csv": Csv,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
}
"""The reader of each ending of a file's name."""


def open_table(path: Path) -> TableFile:
    """Return the table in a file. Raises BadSource for a file that is none."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadSource(f"{path} is no table: give a file that ends with {', '.join(KINDS)}")
    return kind(path)
