"""The store as one object: tables of assets, labels, features and quarantine under one URI."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embedder.spec import EncoderSpec
from store import snapshot as snapshots
from store.errors import AmbiguousFeatures, StoreError, UnknownFeatures
from store.lance.table import Database
from store.matrix import Matrix
from store.rows import Column, strings
from store.schema import Dtype, stage_of
from store.selection import Batches, Selection, select
from store.snapshot import Snapshot
from store.tables import features as feature_tables
from store.tables.assets import Assets
from store.tables.features import About, Features, Kind
from store.tables.labels import Labels
from store.tables.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """One stored encoder, for listings."""

    kind: Kind
    name: str
    fingerprint: str
    spec: EncoderSpec
    rows: int
    dtype: Dtype


class Store:
    """Open with `Store.open`. May be shared by threads; any number of processes may read and write at once."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.assets = Assets(database)
        self.labels = Labels(database)
        self.quarantine = Quarantine(database)

    @classmethod
    def open(cls, uri: str | Path, *, must_exist: bool = False) -> Self:
        """The store at a folder or at any URI that LanceDB takes.

        Nothing is made before the first write: an absent folder reads as an empty store. With `must_exist` it
        raises StoreError instead, which is what commands that only read want. A file is always refused.
        """
        database = Database(uri)
        if must_exist and not database.exists():
            raise StoreError(
                f"there is no store at {database.uri}; fill one with `headwater ingest SOURCE --task NAME "
                f"--store {database.uri}`, or name another with --store"
            )
        return cls(database)

    @property
    def uri(self) -> str:
        return self.database.uri

    def encoders(self, kind: Kind = "vector") -> list[FeatureTable]:
        """What is stored, by table name."""
        return [
            FeatureTable(kind, f.name, f.fingerprint, f.spec, f.rows, f.dtype)
            for f in feature_tables.stored(self.database, kind)
        ]

    def features(self, name_or_fingerprint: str) -> Features:
        """The vectors of an encoder, by its name or by at least 6 digits of its fingerprint.

        Raises UnknownFeatures, AmbiguousFeatures.
        """
        return self._find("vector", name_or_fingerprint)

    def tokens(self, name_or_fingerprint: str) -> Features:
        """The tokens of an encoder, rows of shape (P, F); see `features`."""
        return self._find("tokens", name_or_fingerprint)

    def ensure_features(
        self, name: str, spec: EncoderSpec, probe: NDArray[np.float32], *, dtype: Dtype | None = None
    ) -> Features:
        """The table of that fingerprint's vectors, made when missing (as float32 unless `dtype` says otherwise).

        `probe` (m, d) are the encoder's float32 vectors of the fixed probe batch: the reference for every later
        writer and reader. Raises FeaturesMismatch when the stored table does not agree.
        """
        about = About("vector", name, spec, dtype or "float32", np.asarray(probe, np.float32))
        return feature_tables.ensure(self.database, about, any_dtype=dtype is None)

    def ensure_tokens(self, name: str, spec: EncoderSpec, probe: NDArray[np.float32] | None = None) -> Features:
        """The same for tokens (n, P, F), always float16. Without a probe, that of the stored vectors is taken."""
        if probe is None:
            probe = self.features(spec.fingerprint).probe
        about = About("tokens", name, spec, "float16", np.asarray(probe, np.float32))
        return feature_tables.ensure(self.database, about, any_dtype=False)

    def missing(
        self,
        fingerprint: str,
        *,
        stage: str | None = None,
        tokens: bool = False,
        retry_quarantined: bool = False,
        modality: str = "image",
    ) -> list[str]:
        """Ids of assets without a row in that feature table, in stored order. Reads ids only.

        With `tokens`, of those that lack their tokens, their vector or both: a process may be killed between the two.
        Those in quarantine at `stage` (default: `stage_of(fingerprint)`) are left out, unless
        `retry_quarantined`.
        """
        kinds: list[Kind] = ["vector", "tokens"] if tokens else ["vector"]
        stored = [feature_tables.find(self.database, feature_tables.PREFIX[kind] + fingerprint[:12]) for kind in kinds]
        done = [_common([table.ids() for table in stored if table is not None])] if all(stored) else []
        if not retry_quarantined:
            rows = self.quarantine.get(stage or stage_of(fingerprint))
            done.append(rows["key"].combine_chunks())
        ids = self.assets.ids(modality)
        for known in done:
            ids = ids.filter(pc.invert(pc.is_in(ids, value_set=known)))
        return strings(ids)

    def snapshot(self) -> Snapshot:
        """Pin the present version of all tables."""
        return snapshots.take(self.database)

    def matrix(
        self,
        task: str,
        encoders: Sequence[str],
        *,
        splits: Sequence[str] | None = None,
        snapshot: Snapshot | None = None,
        classes: Sequence[str] | None = None,
        rows: pa.Table | None = None,
    ) -> Matrix:
        """Labels and vectors joined by id, in memory.

        Args:
            splits: which to take; None for all.
            classes: instead of the task's own, see `Labels.classes`.
            rows: some of the rows of `Labels.get` at `snapshot`, to join these and read no labels.

        Raises UnknownTask, UnknownFeatures, BadSplit.
        """
        return self._select(task, encoders, splits, snapshot, classes, rows).matrix()

    def batches(
        self,
        task: str,
        encoders: Sequence[str],
        *,
        splits: Sequence[str] | None = None,
        snapshot: Snapshot | None = None,
        classes: Sequence[str] | None = None,
        rows: pa.Table | None = None,
        batch_rows: int = 16384,
        share: tuple[int, int] | None = None,
    ) -> Batches:
        """The same as a stream with bounded memory, see `Batches`.

        Args:
            share: (first, count) of the vectors in stored order, to read these only; of one encoder.
        """
        return Batches(self._select(task, encoders, splits, snapshot, classes, rows), batch_rows, share)

    def optimize(self, *, keep: timedelta | None = None) -> None:
        """Index the ids of large tables, compact those of many small fragments. Safe beside other processes.

        Of what is compacted, versions older than a week are removed, and snapshots of them can no longer be read. With
        `keep` all tables are compacted, and that is the age.
        """
        feature_list = [f for kind in feature_tables.PREFIX for f in feature_tables.stored(self.database, kind)]
        for table in (self.assets.table, self.labels.table, self.quarantine.table, *(f.table for f in feature_list)):
            table.optimize(keep)

    def _select(
        self,
        task: str,
        encoders: Sequence[str],
        splits: Sequence[str] | None,
        snapshot: Snapshot | None,
        classes: Sequence[str] | None,
        rows: pa.Table | None,
    ) -> Selection:
        features = {name: self.features(name) for name in encoders}
        return select(self.labels, task, features, snapshot or self.snapshot(), splits, classes, rows)

    def _find(self, kind: Kind, asked: str) -> Features:
        stored = feature_tables.stored(self.database, kind)
        found = [f for f in stored if asked == f.name or (len(asked) >= 6 and f.fingerprint.startswith(asked))]
        known = [f"{f.name} ({f.fingerprint[:12]})" for f in (found or stored)]
        if not found:
            raise UnknownFeatures(asked, known, "vectors" if kind == "vector" else "tokens")
        if len(found) > 1:
            raise AmbiguousFeatures(asked, known)
        return found[0]


def _common(columns: Sequence[Column]) -> Column:
    """The ids that are in every one of `columns`."""
    first, *others = (column.combine_chunks() for column in columns)
    for other in others:
        first = first.filter(pc.is_in(first, value_set=other))
    return first
