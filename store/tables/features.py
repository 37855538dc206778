"""Features: what an encoder gave for each asset, pooled vectors or tokens, with the encoder's identity."""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from embedder.spec import EncoderSpec
from store.errors import BadVectors, FeaturesMismatch, WrongSchema
from store.lance.table import Database, Table
from store.rows import Column, fixed_size, matrix_view, strings
from store.schema import FORMAT, Dtype, features_schema

Kind = Literal["vector", "tokens"]
PREFIX: dict[Kind, str] = {"vector": "features_", "tokens": "tokens_"}
_METADATA = b"headwater"
_LEAST_COSINE = 0.999
"""Two probes of one encoder agree at least so well in any precision that may write to its table."""


@dataclass(frozen=True, slots=True)
class About:
    """What a feature table says of itself, kept as JSON in the table's own metadata.

    `probe` holds the encoder's float32 vectors (m, d) of the fixed probe batch, made when the table was.
    """

    kind: Kind
    name: str
    spec: EncoderSpec
    dtype: Dtype
    probe: NDArray[np.float32]

    @property
    def table(self) -> str:
        return PREFIX[self.kind] + self.spec.fingerprint[:12]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row: (d,) of a vector, (P, F) of tokens."""
        if self.kind == "vector":
            return (self.spec.dim,)
        if self.spec.tokens is None:
            raise FeaturesMismatch(f"encoder {self.name!r} gives no tokens; its vectors can be stored instead")
        return self.spec.tokens

    def schema(self) -> pa.Schema:
        probe = np.ascontiguousarray(self.probe, "<f4")
        record = {
            "format": FORMAT,
            "encoder": self.name,
            "fingerprint": self.spec.fingerprint,
            "spec": self.spec.canonical_json(),
            "probe_shape": probe.shape,
            "probe": base64.b64encode(probe.tobytes()).decode(),
        }
        return features_schema(self.kind, math.prod(self.shape), self.dtype, {_METADATA.decode(): json.dumps(record)})

    @classmethod
    def of(cls, name: str, schema: pa.Schema) -> "About":
        """From the stored schema of table `name`. Raises WrongSchema for a table that is not ours."""
        kind: Kind = "tokens" if name.startswith(PREFIX["tokens"]) else "vector"
        try:
            record: dict[str, Any] = json.loads((schema.metadata or {})[_METADATA])
            layout, spec = record["format"], EncoderSpec.from_json(record["spec"])
            flat = np.frombuffer(base64.b64decode(record["probe"]), "<f4")
            value = schema.field(kind).type.value_type
            dtype: Dtype = "float16" if value == pa.float16() else "float32"
            about = cls(kind, record["encoder"], spec, dtype, flat.reshape(record["probe_shape"]))
        except (KeyError, ValueError, AttributeError) as error:
            raise WrongSchema(
                f"table {name!r} does not say which encoder it holds ({error}); Headwater did not make it: "
                "open another folder, or move that table away"
            ) from error
        if layout != FORMAT:
            raise WrongSchema(f"table {name!r} has layout {layout}; this version reads {FORMAT}: update Headwater")
        if record["fingerprint"] != spec.fingerprint:
            raise WrongSchema(f"table {name!r}: its spec does not give its fingerprint {record['fingerprint']}")
        return about


class Features:
    """One feature table. Rows are raw: not normalised, not centred."""

    def __init__(self, database: Database, about: About) -> None:
        self.about = about
        self.table = Table(database, about.table, about.schema())

    @property
    def name(self) -> str:
        return self.about.name

    @property
    def spec(self) -> EncoderSpec:
        return self.about.spec

    @property
    def fingerprint(self) -> str:
        return self.about.spec.fingerprint

    @property
    def dtype(self) -> Dtype:
        return self.about.dtype

    @property
    def probe(self) -> NDArray[np.float32]:
        return self.about.probe

    @property
    def shape(self) -> tuple[int, ...]:
        return self.about.shape

    @property
    def rows(self) -> int:
        return self.table.count()

    def put(self, ids: Sequence[str], vectors: ArrayLike) -> int:
        """Store the rows (n, *shape) of `ids` that are not there yet; returns how many were new. Raises BadVectors."""
        return self.table.insert(self.arrow(ids, vectors))

    def arrow(self, ids: Sequence[str], vectors: ArrayLike) -> pa.Table:
        """The rows (n, *shape) of `ids` as the table holds them.

        Raises BadVectors for a wrong shape, or values that are not finite in the table's dtype.
        """
        given = np.asarray(vectors)
        if given.shape != (len(ids), *self.shape):
            raise BadVectors(
                f"{len(ids)} ids need {self.about.kind} of shape {(len(ids), *self.shape)} for {self.name!r}, "
                f"not {given.shape}"
            )
        with np.errstate(over="ignore"):
            flat = given.astype(self.dtype, copy=False).reshape(len(ids), math.prod(self.shape))
        finite = np.isfinite(flat).all(axis=1)
        if not finite.all():
            bad = [id_ for id_, good in zip(ids, finite, strict=True) if not good]
            raise BadVectors(f"not finite as {self.dtype}: {self.about.kind} of {len(bad)} assets, first {bad[0]}")
        column = fixed_size(flat, self.table.schema.field(self.about.kind).type)
        return pa.table([pa.array(ids, pa.string()), column], schema=self.table.schema)

    def ids(self, *, version: int | None = None) -> Column:
        return self.table.read(["id"], version=version)["id"]

    def get(self, ids: Sequence[str], *, version: int | None = None) -> tuple[list[str], NDArray[np.float32]]:
        """(found ids, X float32 (m, *shape)) in the order asked; ids without a row are left out."""
        parts = list(self.stream(ids, version=version))
        found = [id_ for some, _ in parts for id_ in some]
        empty = np.empty((0, *self.shape), np.float32)
        return found, np.concatenate([empty, *(X for _, X in parts)])

    def stream(
        self, ids: Sequence[str], batch_rows: int = 4096, *, version: int | None = None
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """`get` in batches of at most `batch_rows` asked ids, for reading many with bounded memory."""
        columns = ["id", self.about.kind]
        for table in self.table.fetch(ids, columns, version=version, batch_rows=batch_rows):
            yield strings(table["id"]), self._floats(table[self.about.kind])

    def scan(
        self, batch_rows: int = 16384, *, version: int | None = None, share: tuple[int, int] | None = None
    ) -> Iterator[tuple[Column, NDArray[np.float32]]]:
        """All rows, streamed: (ids, X float32 (m, *shape)). float32 rows are read-only views, not copies.

        Args:
            share: (first, count) of the rows in stored order, instead of all.
        """
        columns = ["id", self.about.kind]
        for batch in self.table.scan(columns, version=version, batch_rows=batch_rows, share=share):
            yield batch["id"], self._floats(batch[self.about.kind])

    def search(
        self, vector: ArrayLike, k: int = 10, metric: Literal["cosine", "l2", "dot"] = "cosine"
    ) -> list[tuple[str, float]]:
        """The k nearest assets, nearest first: (id, score), a higher score being nearer.

        Scores: cosine similarity; minus the squared distance for `l2`; the inner product for `dot`.
        """
        query = np.asarray(vector, np.float32)
        if query.shape != self.shape or not np.isfinite(query).all():
            raise BadVectors(f"search needs one finite vector of shape {self.shape}, not {query.shape}")
        if not self.rows or k < 1:
            return []
        found = self.table.nearest(query, self.about.kind, k, metric)
        distances = found["_distance"].to_numpy()
        scores = -distances if metric == "l2" else 1.0 - distances
        return list(zip(strings(found["id"]), scores.tolist(), strict=True))

    def _floats(self, column: Column) -> NDArray[np.float32]:
        floats: NDArray[np.float32] = matrix_view(column).astype(np.float32, copy=False)
        return floats.reshape(-1, *self.shape)


def find(database: Database, table: str) -> Features | None:
    """The feature table of that name. Raises WrongSchema when it is not ours."""
    schema = database.schema(table)
    return None if schema is None else Features(database, About.of(table, schema))


def stored(database: Database, kind: Kind) -> list[Features]:
    """All feature tables of one kind, by table name."""
    names = [name for name in database.names() if name.startswith(PREFIX[kind])]
    return [features for name in names if (features := find(database, name)) is not None]


def ensure(database: Database, about: About, *, any_dtype: bool) -> Features:
    """The feature table that `about` describes, made when missing.

    Raises FeaturesMismatch when there is one with another fingerprint, probe or (unless `any_dtype`) dtype.
    """
    features = find(database, about.table)
    if features is None:
        Features(database, about).table.create()
        features = find(database, about.table)  # another process may have been first: what is stored counts
        assert features is not None  # noqa: S101  # just made
    _agree(features.about, about, any_dtype)
    return features


def _agree(have: About, want: About, any_dtype: bool) -> None:
    if have.spec != want.spec:
        raise FeaturesMismatch(
            f"table {have.table!r} holds fingerprint {have.spec.fingerprint}, which begins like "
            f"{want.spec.fingerprint} of {want.name!r}: use another store for one of them"
        )
    if have.dtype != want.dtype and not any_dtype:
        raise FeaturesMismatch(
            f"{have.kind} of {have.name!r} are stored as {have.dtype}, not {want.dtype}: leave the dtype out, "
            "or use another store"
        )
    if have.probe.shape != want.probe.shape:
        raise FeaturesMismatch(f"the probe of {have.name!r} has shape {have.probe.shape}, not {want.probe.shape}")
    worst = least_cosine(have.probe, want.probe)
    if not worst >= _LEAST_COSINE:
        raise FeaturesMismatch(
            f"this encoder's probe differs from the one stored for {have.name!r}: cosine {worst:.5f}, at least "
            f"{_LEAST_COSINE} is needed; the weights or the preprocessing are not those the table was made with"
        )


def least_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The smallest cosine between rows of `a` and `b` (m, d); 1.0 when there are none."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.min(np.sum(a * b, axis=1) / norms, initial=1.0))
