"""Feature tables: one row for each asset, with the pooled vector or the tokens that an encoder computed."""

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from embedder.spec import EncoderSpec
from store.errors import BadVectors
from store.lance.database import Database
from store.lance.table import Table
from store.rows import Column, among, fixed_size, matrix_view, strings
from store.schema import Dtype
from store.tables.identity import PREFIX, Form, Identity


class Features:
    """One feature table. Rows are stored as the encoder returned them: neither normalised nor centred.

    `shape` is the shape of one row: (d,) for a vector, (P, F) for tokens.
    """

    def __init__(self, database: Database, identity: Identity) -> None:
        self.identity = identity
        self.table = Table(database, identity.table, identity.schema())

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def spec(self) -> EncoderSpec:
        return self.identity.spec

    @property
    def fingerprint(self) -> str:
        return self.identity.spec.fingerprint

    @property
    def dtype(self) -> Dtype:
        return self.identity.dtype

    @property
    def probe(self) -> NDArray[np.float32]:
        return self.identity.probe

    @property
    def shape(self) -> tuple[int, ...]:
        return self.identity.shape

    @property
    def rows(self) -> int:
        return self.table.count()

    def put(self, ids: Sequence[str], vectors: ArrayLike) -> int:
        """Store the rows `vectors` (n, *shape) of `ids`; an id already stored keeps its row.

        Returns the number of new rows. Raises BadVectors.
        """
        return self.table.insert(self.arrow(ids, vectors))

    def arrow(self, ids: Sequence[str], vectors: ArrayLike) -> pa.Table:
        """Return `vectors` (n, *shape) with their `ids` as an Arrow table of this table's schema.

        Raises BadVectors for a wrong shape, or values that are not finite in the table's dtype.
        """
        given = np.asarray(vectors)
        if given.shape != (len(ids), *self.shape):
            raise BadVectors(
                f"{len(ids)} ids need {self.identity.form} of shape {(len(ids), *self.shape)} for {self.name!r}, "
                f"not {given.shape}"
            )
        with np.errstate(over="ignore"):
            flat = given.astype(self.dtype, copy=False).reshape(len(ids), math.prod(self.shape))
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            bad = [id_ for id_, good in zip(ids, finite, strict=True) if not good]
            raise BadVectors(f"not finite as {self.dtype}: {self.identity.form} of {len(bad)} assets, first {bad[0]}")
        column = fixed_size(flat, self.table.schema.field(self.identity.form).type)
        return pa.table([pa.array(ids, pa.string()), column], schema=self.table.schema)

    def has(self, id_: str) -> bool:
        """Return True if the asset has a row."""
        return bool(self.table.count(among("id", [id_])))

    def ids(self, *, version: int | None = None) -> Column:
        return self.table.read(["id"], version=version)["id"]

    def get(self, ids: Sequence[str], *, version: int | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """Return (found ids, X float32 (m, *shape)) in the order of `ids`; ids without a row are left out."""
        parts = list(self.stream(ids, version=version))
        found = [id_ for some, _ in parts for id_ in some]
        empty = np.empty((0, *self.shape), np.float32)
        return found, np.concatenate([empty, *(X for _, X in parts)])

    def stream(
        self, ids: Sequence[str], batch_rows: int = 4096, *, version: int | None = None
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Yield what `get` returns, for `batch_rows` of `ids` at a time, so that memory stays bounded."""
        columns = ["id", self.identity.form]
        for table in self.table.fetch(ids, columns, version=version, batch_rows=batch_rows):
            yield strings(table["id"]), self._floats(table[self.identity.form])

    def scan(
        self, batch_rows: int = 16384, *, version: int | None = None, share: tuple[int, int] | None = None
    ) -> Iterator[tuple[Column, NDArray[np.float32]]]:
        """Yield all rows in stored order as (ids, X float32 (m, *shape)). X of a float32 table is a read-only view.

        Args:
            share: (first row, number of rows) to read instead of all.
        """
        columns = ["id", self.identity.form]
        for batch in self.table.scan(columns, version=version, batch_rows=batch_rows, share=share):
            yield batch["id"], self._floats(batch[self.identity.form])

    def optimize(self, keep: timedelta | None = None) -> None:
        """Index the ids and the vectors of a large table, and compact it. Tokens are not searched, nor indexed."""
        self.table.optimize(keep, self.identity.form if self.identity.form == "vector" else None)

    def search(
        self,
        vector: ArrayLike,
        k: int = 10,
        metric: Literal["cosine", "l2", "dot"] = "cosine",
        ids: Column | None = None,
    ) -> list[tuple[str, float]]:
        """Return the `k` nearest assets as (id, score), nearest first. The nearer, the higher the score.

        The score is the cosine similarity, for `l2` the negative squared distance, for `dot` the inner product. In a
        large table, cosines are searched by an index that may miss some of the nearest; see `store.lance.nearest`. A
        vector of zeros has no cosine, so it is never found.

        Args:
            ids: ids of the assets to choose from, as a column of text; None for all.

        Raises BadVectors unless `vector` is finite and has the shape of one row.
        """
        query = np.asarray(vector, np.float32)
        if query.shape != self.shape or not np.isfinite(query).all():
            raise BadVectors(f"search needs one finite vector of shape {self.shape}, not {query.shape}")
        if not self.rows or k < 1 or (ids is not None and not len(ids)):
            return []
        found = self.table.nearest(query, self.identity.form, k, metric, ids)
        distances = found["_distance"].to_numpy()
        scores = -distances if metric == "l2" else 1.0 - distances
        return list(zip(strings(found["id"]), scores.tolist(), strict=True))

    def _floats(self, column: Column) -> NDArray[np.float32]:
        floats: NDArray[np.float32] = matrix_view(column).astype(np.float32, copy=False)
        return floats.reshape(-1, *self.shape)


def find(database: Database, table: str) -> Features | None:
    """Return the feature table of that name, or None. Raises WrongSchema if Headwater did not create it."""
    schema = database.schema(table)
    return None if schema is None else Features(database, Identity.of(table, schema))


def stored(database: Database, form: Form) -> list[Features]:
    """Return all feature tables of one form, sorted by table name."""
    names = [name for name in database.names() if name.startswith(PREFIX[form])]
    return [features for name in names if (features := find(database, name)) is not None]


def ensure(database: Database, identity: Identity, *, any_dtype: bool) -> Features:
    """Return the feature table of `identity`, created if there is none.

    Raises FeaturesMismatch if the stored one has another fingerprint, probe or (unless `any_dtype`) dtype.
    """
    features = find(database, identity.table)
    if features is None:
        Features(database, identity).table.create()
        features = find(database, identity.table)  # another process may have been faster: compare with what is stored
        assert features is not None  # noqa: S101  # just created
    features.identity.require(identity, any_dtype=any_dtype)
    return features
