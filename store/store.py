"""The store as one object: the tables of assets, labels, features and quarantine under one URI."""

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
from store.errors import AmbiguousFeatures, NoStore, UnknownFeatures
from store.files import MAX_BYTES
from store.lance.database import Database
from store.lance.fragments import rewrite_without_removed
from store.lance.table import Table
from store.matrix import Matrix
from store.rows import Column, strings
from store.schema import Dtype, stage_of
from store.selection import BATCH_ROWS, Batches, Selection, select
from store.snapshot import Snapshot
from store.tables import features as feature_tables
from store.tables.assets import Assets
from store.tables.features import Features
from store.tables.identity import PREFIX, Form, Identity
from store.tables.labels import Labels
from store.tables.quarantine import Quarantine


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Description of one feature table, for listings."""

    form: Form
    name: str
    fingerprint: str
    spec: EncoderSpec
    rows: int
    dtype: Dtype


class Store:
    """A feature store. Open one with `Store.open`.

    Threads may share it. Any number of processes may read and write the same store at once.
    """

    def __init__(self, database: Database, max_file_bytes: int = MAX_BYTES) -> None:
        self.database = database
        self.assets = Assets(database, max_file_bytes)
        self.labels = Labels(database)
        self.quarantine = Quarantine(database)

    @classmethod
    def open(cls, uri: str | Path, *, must_exist: bool = False, max_file_bytes: int = MAX_BYTES) -> Self:
        """Open the store in a folder, or at any URI that LanceDB supports.

        Nothing is created before the first write: a missing folder reads as an empty store. With `must_exist`, a
        missing folder raises NoStore instead, and so does a folder without tables. An empty `uri`, which is not the
        current folder, raises NoStore too. A path that is a file raises StoreError.

        Args:
            max_file_bytes: largest file that is read where an asset refers to it.
        """
        if uri == "":
            raise NoStore("")
        database = Database(uri)
        if must_exist and not database.names():
            raise NoStore(database.uri, empty=database.exists())
        return cls(database, max_file_bytes)

    @property
    def uri(self) -> str:
        return self.database.uri

    def encoders(self, form: Form = "vector") -> list[FeatureTable]:
        """Describe the feature tables of one form, sorted by table name."""
        return [
            FeatureTable(form, f.name, f.fingerprint, f.spec, f.rows, f.dtype)
            for f in feature_tables.stored(self.database, form)
        ]

    def features(self, name_or_fingerprint: str) -> Features:
        """Return the vectors of an encoder, given its name or at least the first 6 digits of its fingerprint.

        Raises UnknownFeatures, AmbiguousFeatures.
        """
        return self._find("vector", name_or_fingerprint)

    def tokens(self, name_or_fingerprint: str) -> Features:
        """Return the tokens of an encoder, rows of shape (P, F). Takes the same names as `features`."""
        return self._find("tokens", name_or_fingerprint)

    def ensure_features(
        self, name: str, spec: EncoderSpec, probe: NDArray[np.float32], *, dtype: Dtype | None = None
    ) -> Features:
        """Return the table of an encoder's vectors, created if there is none.

        Args:
            probe: float32 (m, d), the encoder's vectors of the fixed probe batch. Every later writer and reader of the
                table is compared with them.
            dtype: required dtype; None for the stored one, or float32 for a new table.

        Raises FeaturesMismatch if the stored table has another spec, probe or dtype.
        """
        identity = Identity("vector", name, spec, dtype or "float32", np.asarray(probe, np.float32))
        return feature_tables.ensure(self.database, identity, any_dtype=dtype is None)

    def ensure_tokens(self, name: str, spec: EncoderSpec, probe: NDArray[np.float32] | None = None) -> Features:
        """Return the table of an encoder's tokens, float16 (n, P, F), created if there is none.

        `probe` is that of `ensure_features`; None uses the probe of the stored vectors.
        """
        if probe is None:
            probe = self.features(spec.fingerprint).probe
        identity = Identity("tokens", name, spec, "float16", np.asarray(probe, np.float32))
        return feature_tables.ensure(self.database, identity, any_dtype=False)

    def drop_empty(self, features: Features) -> None:
        """Remove the table of an encoder if it has no rows. Nothing may write to it meanwhile."""
        if not features.rows:
            self.database.drop(features.table.name)

    def missing(
        self,
        fingerprint: str,
        *,
        stage: str | None = None,
        tokens: bool = False,
        retry_quarantined: bool = False,
        modality: str = "image",
    ) -> list[str]:
        """Return the ids of the assets of `modality` that have no vector of the encoder yet, in stored order.

        Reads ids only.

        Args:
            tokens: also return assets without tokens: a process may be killed after it stored only the tokens or only
                the vectors.
            stage: quarantine stage whose assets are left out; None for `stage_of(fingerprint)`.
            retry_quarantined: do not leave out quarantined assets.
        """
        forms: list[Form] = ["vector", "tokens"] if tokens else ["vector"]
        stored = [feature_tables.find(self.database, PREFIX[form] + fingerprint[:12]) for form in forms]
        done = [_common([table.ids() for table in stored if table is not None])] if all(stored) else []
        if not retry_quarantined:
            rows = self.quarantine.get(stage or stage_of(fingerprint))
            done.append(rows["key"].combine_chunks())
        ids = self.assets.ids(modality)
        for known in done:
            ids = ids.filter(pc.invert(pc.is_in(ids, value_set=known)))
        return strings(ids)

    def snapshot(self) -> Snapshot:
        """Pin the current version of every table."""
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
        """Join a task's labels with vectors by asset id, in memory.

        Args:
            splits: splits to read; None for all.
            snapshot: versions to read; None for the current ones.
            classes: classes to use instead of the task's own (see `Labels.classes`).
            rows: rows of `Labels.get` at `snapshot` to join, instead of reading all labels of the task.

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
        batch_rows: int = BATCH_ROWS,
        share: tuple[int, int] | None = None,
    ) -> Batches:
        """Return the rows of `matrix` as a stream with bounded memory; see `Batches`.

        Args:
            batch_rows: largest number of rows in one batch.
            share: (first row, number of rows) of the stored vectors to read instead of all. Needs exactly one encoder.
        """
        return Batches(self._select(task, encoders, splits, snapshot, classes, rows), batch_rows, share)

    def optimize(self, *, keep: timedelta | None = None) -> None:
        """Index the ids and vectors of large tables, and compact tables of many small fragments.

        Other processes may read and write meanwhile. Compacting a table also removes its versions that are older than
        a week; snapshots of them can no longer be read. With `keep`, every table is compacted, and versions older than
        `keep` are removed. An age of zero leaves only the newest version; whatever reads or writes an older one fails.
        """
        for table in self._tables():
            table.optimize(keep)
        for features in self._all_features():
            features.optimize(keep)

    def purge(self) -> None:
        """Leave no byte of removed rows in any file: rewrite the files that hold some, and remove all old versions.

        Snapshots of old versions can no longer be read, and whatever reads or writes one at the moment fails.
        """
        for table in (*self._tables(), *(features.table for features in self._all_features())):
            rewrite_without_removed(table)
        self.optimize(keep=timedelta(0))

    def _tables(self) -> tuple[Table, ...]:
        """Return all tables but those of vectors and tokens."""
        return (self.assets.table, self.labels.table, self.labels.history.table, self.quarantine.table)

    def _all_features(self) -> list[Features]:
        return [features for form in PREFIX for features in feature_tables.stored(self.database, form)]

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

    def _find(self, form: Form, asked: str) -> Features:
        stored = feature_tables.stored(self.database, form)
        found = [f for f in stored if asked == f.name or (len(asked) >= 6 and f.fingerprint.startswith(asked))]
        known = [f"{f.name} ({f.fingerprint[:12]})" for f in (found or stored)]
        if not found:
            raise UnknownFeatures(asked, known, "vectors" if form == "vector" else "tokens")
        if len(found) > 1:
            raise AmbiguousFeatures(asked, known)
        return found[0]


def _common(columns: Sequence[Column]) -> Column:
    """Return the ids that are in every column."""
    first, *others = (column.combine_chunks() for column in columns)
    for other in others:
        first = first.filter(pc.is_in(first, value_set=other))
    return first
