"""Finds out what a path holds: one file, a folder of clip-retrieval or FiftyOne, or a folder of Parquet files."""

import re
from pathlib import Path

from services.jobs.import_vectors.columns import Columns
from services.jobs.import_vectors.fiftyone import SAMPLES, FiftyOneSource
from services.jobs.import_vectors.sources import NpySource, Source, TableSource
from services.jobs.import_vectors.tables import KINDS, open_table
from store.errors import BadSource

ARRAYS, ROWS = "img_emb", "metadata"
"""Folders of clip-retrieval. Row i of ``metadata/metadata_0.parquet`` describes vector i of ``img_emb/img_emb_0.npy``.
"""

PICKLED = {".pt", ".pth", ".pkl", ".pickle", ".npz"}


def open_source(path: Path, rows: Path | None, columns: Columns) -> Source:
    """Return the vectors at `path`.

    Args:
        rows: a table with one row for each vector of an NPY file, in the same order.
        columns: the columns that the user named.

    Raises BadSource for a path that holds no vectors, BadVectors for vectors of different lengths.
    """
    path = path.expanduser()
    rows = rows.expanduser() if rows else None
    if not path.exists():
        raise BadSource(f"{path} does not exist; give a file or a folder of vectors")
    if path.suffix.lower() == ".npy" and not path.is_dir():
        return NpySource(path, [(path, rows)], columns)
    if rows is not None:
        raise BadSource(f"{path} is no NPY file, so it names its rows itself; leave out {rows}")
    if path.is_dir():
        return _folder(path, columns)
    if path.name == SAMPLES:
        return FiftyOneSource(path, columns)
    if path.suffix.lower() in KINDS:
        return TableSource(path, [open_table(path)], columns)
    advice = ", which may run code when it is read: save the array with numpy.save" if path.suffix in PICKLED else ""
    raise BadSource(f"{path} is no file of vectors{advice}; give .npy, {', '.join(KINDS)}, or a folder")


def _folder(path: Path, columns: Columns) -> Source:
    try:
        inside = sorted(each.name for each in path.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise BadSource(f"{path} cannot be read: {error.strerror}") from error
    if ARRAYS in inside:
        return NpySource(path, _pairs(path), columns)
    if SAMPLES in inside:
        return FiftyOneSource(path / SAMPLES, columns)
    tables = [open_table(path / name) for name in inside if name.endswith(".parquet")]
    if tables:
        return TableSource(path, tables, columns)
    raise BadSource(
        f"{path} holds no vectors: neither {ARRAYS}/ with {ROWS}/ (clip-retrieval), nor {SAMPLES} (FiftyOne), nor "
        "Parquet files"
    )


def _pairs(path: Path) -> list[tuple[Path, Path | None]]:
    """Return the arrays of clip-retrieval, each with its rows, by number. Raises BadSource for one without rows."""
    arrays = _by_number(path / ARRAYS, "npy")
    rows = _by_number(path / ROWS, "parquet") if (path / ROWS).is_dir() else {}
    if not arrays:
        raise BadSource(f"{path / ARRAYS} holds no NPY files")
    if alone := [file.name for number, file in arrays.items() if number not in rows]:
        raise BadSource(f"{path / ROWS} has no Parquet file for {alone[0]} ({len(alone)} without one)")
    return [(arrays[number], rows[number]) for number in sorted(arrays)]


def _by_number(folder: Path, ending: str) -> dict[int, Path]:
    files = ((re.search(r"(\d+)$", file.stem), file) for file in folder.glob(f"*.{ending}"))
    return {int(number[1]): file for number, file in files if number}
