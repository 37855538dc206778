"""Folds of training rows: each row is held out once, and every fold is like the whole.

Folds are stratified by label. A row counts for its rarest label, which is its class if it has exactly one. The rows of
one label are dealt to the folds in turn, so their numbers in two folds differ by at most 1, and a label with fewer rows
than folds is in as many folds as it has rows. Within a label the order is that of a checksum of the ids, so the folds
are the same on every machine.

Rows of one group (a speaker, a patient, a site) are held out together, because a head that has heard a speaker knows
more about this speaker's other recordings than about a new speaker's.
"""

from collections.abc import Sequence
from typing import Literal, get_args
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from store.rows import Column, strings

By = Literal["rows", "groups"]
"""What a fold holds out: any rows, or whole groups."""

BYS: tuple[By, ...] = get_args(By)


def dealt(rows: pa.Table, count: int, by: By = "rows") -> NDArray[np.int64]:
    """Return the fold of each row, in 0…count-1, (n,).

    Args:
        rows: columns id, labels, and for `by="groups"` group. A row without a group is held out alone.
        count: number of folds, at most the number of groups if there are groups only.
    """
    strata = rarest(rows["labels"].combine_chunks())
    ids = strings(rows["id"])
    groups = codes_of_groups(rows) if by == "groups" else np.full(len(ids), -1)
    single = np.flatnonzero(groups < 0)
    folds = np.zeros(len(ids), np.int64)
    checksums = np.fromiter((crc32(ids[row].encode()) for row in single), np.int64, len(single))
    order = np.argsort(strata[single] << 32 | checksums, kind="stable")  # by stratum, then by checksum of 32 bits
    folds[single[order]] = np.arange(len(single)) % count
    if len(single) < len(ids):
        _place(folds, strata, groups, count)
    return folds


def _place(folds: NDArray[np.int64], strata: NDArray[np.int64], groups: NDArray[np.int64], count: int) -> None:
    """Set the folds of rows with a group: the largest group first, each in the fold that has least of its labels."""
    alone = groups < 0
    totals = np.bincount(strata)
    held = np.zeros((count, len(totals)))
    np.add.at(held, (folds[alone], strata[alone]), 1)
    order = np.argsort(groups, kind="stable")[np.count_nonzero(alone) :]
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for rows in sorted(members, key=len, reverse=True):
        own, sizes = np.unique(strata[rows], return_counts=True)
        overlap = held[:, own] @ (sizes / totals[own]) + held.sum(axis=1) * (len(rows) / len(folds))
        fold = int(overlap.argmin())
        folds[rows] = fold
        held[fold, own] += sizes


def rarest(labels: Column) -> NDArray[np.int64]:
    """Return a number for the rarest label of each row, (n,); 0 for rows without a label.

    Args:
        labels: labels of each row, list<string> (n).
    """
    sizes = pc.list_value_length(labels).to_numpy(zero_copy_only=False)
    encoded = labels.flatten().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    names = np.argsort(np.argsort(np.array(strings(encoded.dictionary), object)))  # whatever order the rows have
    codes = names[codes] if len(codes) else codes
    if (sizes == 1).all():
        return np.asarray(1 + codes)
    found = np.zeros(len(sizes), np.int64)
    if not len(codes):
        return found
    owners = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((codes, np.bincount(codes)[codes], owners))
    first = np.unique(owners[order], return_index=True)[1]
    found[owners[order][first]] = 1 + codes[order][first]
    return found


def codes_of_groups(rows: pa.Table) -> NDArray[np.int64]:
    """Return a number for the group of each row, by the order of the groups' names, (n,); -1 for rows without one."""
    if not has_groups(rows):
        return np.full(rows.num_rows, -1)
    codes: Column = pc.index_in(rows["group"], value_set=pa.array(groups_of(rows), pa.string()))
    found: NDArray[np.int64] = pc.fill_null(codes, -1).to_numpy().astype(np.int64)
    return found


def groups_of(rows: pa.Table) -> Sequence[str]:
    """Return the groups of the rows, sorted."""
    if not has_groups(rows):
        return ()
    return sorted(name for name in pc.unique(rows["group"]).to_pylist() if name is not None)


def has_groups(rows: pa.Table) -> bool:
    """Return True if a row has a group."""
    return "group" in rows.column_names and rows["group"].null_count < rows.num_rows
