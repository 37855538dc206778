"""The stored vectors of one encoder at one snapshot, and the choice of those to learn from without labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from store.join import Positions
from store.rows import Column, strings
from store.selection import BATCH_ROWS

if TYPE_CHECKING:
    from store import Features, Snapshot, Store

SOURCE = "clustering "
"""First word of the `source` of a pseudo-label; the clustering's name and digest follow it."""

SAMPLE_BYTES = 1 << 30
"""Maximum number of bytes of sampled vectors. Learning keeps them in memory twice: raw, and as directions."""


@dataclass(frozen=True)
class Unlabelled:
    """One encoder's stored vectors at one snapshot.

    Training rows are all rows except those that any task has in val, test or ood, so that figures on these splits stay
    valid for heads that use what is learned here. Pseudo-labels of clusterings are ignored in this rule.

    Attributes:
        task: name of a task whose labelled assets alone are used, whatever their labels; None for all stored assets.
    """

    store: "Store"
    features: "Features"
    snapshot: "Snapshot"
    task: str | None = None

    @property
    def version(self) -> int:
        return self.snapshot.of(self.features.table)

    @cached_property
    def members(self) -> Column | None:
        """Ids of the assets that the task labels; None without a task. Raises UnknownTask."""
        if self.task is None:
            return None
        labels = self.store.labels
        return labels.get(self.task, version=self.snapshot.of(labels.table))["id"].combine_chunks()

    @cached_property
    def stored(self) -> Column:
        """Ids of the stored vectors; with a task, only of its assets."""
        ids = self.features.ids(version=self.version).combine_chunks()
        return ids if self.members is None else ids.filter(pc.is_in(ids, value_set=self.members))

    def held_out(self) -> Column:
        """Return the ids that any task has in val, test or ood."""
        labels = self.store.labels.table
        rows = labels.read(["id", "split", "source"], version=self.snapshot.of(labels))
        spared = pc.and_(
            pc.not_equal(rows["split"], pa.scalar("train")), pc.invert(pc.starts_with(rows["source"], pattern=SOURCE))
        )
        ids: Column = rows["id"].filter(spared).combine_chunks()
        return ids

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the training rows, sorted. Raises NotTrainable for fewer than two."""
        spared = pc.is_in(self.stored, value_set=self.held_out())
        found = sorted(strings(self.stored.filter(pc.invert(spared))))
        if len(found) < 2:
            raise NotTrainable(
                f"{len(found)} of {len(self.stored)} stored vectors of {self.features.name!r} can be learned from, and "
                "at least 2 are needed: the others are in val, test or ood of a task; ingest and backfill more assets"
            )
        return found

    def sample(self, most: int, seed: int) -> tuple[list[str], NDArray[np.float32]]:
        """Draw at most `most` training rows (and at most `SAMPLE_BYTES`): ids and vectors (m, d), sorted by id.

        The order of the stored rows has no influence.
        """
        dim, ids = self.features.spec.dim, self.ids
        most = min(most, max(2, SAMPLE_BYTES // (4 * dim)))
        if most < len(ids):
            drawn = np.sort(np.random.default_rng(seed).choice(len(ids), most, replace=False))
            ids = [ids[i] for i in drawn.tolist()]
        X = np.empty((len(ids), dim), np.float32)
        positions = Positions(pa.array(ids, pa.string()))
        for some, part in self.features.scan(BATCH_ROWS, version=self.version):
            where = positions.of(some)
            X[where[where >= 0]] = part[where >= 0]
        return ids, X

    def scan(self) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Stream the vectors of `stored` in stored order: (ids, X)."""
        members = None if self.members is None else Positions(self.members)
        for ids, X in self.features.scan(BATCH_ROWS, version=self.version):
            if members is None:
                yield strings(ids), X
            else:
                mine = members.of(ids) >= 0
                yield strings(ids.filter(pa.array(mine))), X[mine]
