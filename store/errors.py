"""Errors of the store. This module imports only the standard library, so that catching them costs no import.

StoreError
├── NoStore             no store is there, or none was chosen
├── UnknownId           asset ids that are not stored
├── AmbiguousId         text that matches several assets
├── UnknownTask         a task without labels
├── TaskExists          a new name that another task has
├── NothingToUndo       no change of labels is left to take back
├── UnknownFeatures     an encoder without stored vectors or tokens
├── AmbiguousFeatures   a name that several stored encoders share
├── FeaturesMismatch    a stored table of another probe, spec, dtype or format
├── BadVectors          wrong shape, or not finite
├── BadLabels           labels that the task does not allow
│   └── NotOneLabel     a row that needs exactly one label
├── BadSplit            no such split
│   └── FrozenSplit     a row already has another split
├── WrongSchema         a table that Headwater did not create
├── SnapshotGone        a version that has been removed
├── ContentChanged      a referenced file that is gone or has changed
├── BadSource           a folder or file that cannot be ingested or imported
│   ├── NoExport        a folder without an export
│   └── UntrustedReferences   an import of assets by reference that was not allowed
├── BadFile             a path that is no regular file, too large, or outside of an allowed folder
├── Unavailable         the files of the store cannot be read or written now
└── DiskFull            the disk is full
    └── NoRoom          the disk is too full for the rows that a job is about to write
"""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from errno import (
    EACCES,
    EBUSY,
    EDQUOT,
    EFBIG,
    EIO,
    EISDIR,
    EMFILE,
    ENFILE,
    ENODEV,
    ENOENT,
    ENOLCK,
    ENOSPC,
    ENOTCONN,
    ENOTDIR,
    EPERM,
    EROFS,
    ESTALE,
    ETIMEDOUT,
)
from typing import Literal


def _some(values: Iterable[str], most: int = 5) -> str:
    """Return the first `most` of `values` as text, followed by the total number if there are more."""
    listed = list(values)
    shown = ", ".join(listed[:most]) or "none"
    return shown if len(listed) <= most else f"{shown}, … ({len(listed)} in all)"


class StoreError(Exception):
    """Base of all errors of the store; raised directly when a store cannot be opened or used."""


class NoStore(StoreError):
    """There is no store at `uri`, which is empty if no store was chosen.

    Args:
        empty: True if the folder or URI exists, but has no tables.
    """

    def __init__(self, uri: str, *, empty: bool = False) -> None:
        self.uri = uri
        found = f"{uri} has no tables of a store" if empty else f"there is no store at {uri}"
        remedy = "ingest assets there first, or open another store"
        super().__init__(f"{found}; {remedy}" if uri else "no store is chosen")


class UnknownId(StoreError, LookupError):
    """Some assets are not in the store. `ids` lists them."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        super().__init__(f"no such asset: {_some(self.ids)}; ingest it first")


class UnknownTask(StoreError, LookupError):
    """The task `task` has no labels. `known` lists the tasks that have some."""

    def __init__(self, task: str, known: Sequence[str]) -> None:
        self.task, self.known = task, list(known)
        super().__init__(f"no labels for task {task!r}; tasks in this store: {_some(self.known, 20)}")


class AmbiguousId(StoreError, LookupError):
    """Several assets match the text `asked`. `ids` lists them."""

    def __init__(self, asked: str, ids: Sequence[str]) -> None:
        self.asked, self.ids = asked, list(ids)
        super().__init__(f"{asked!r} matches several assets: {_some(self.ids)}; give a whole id")


class TaskExists(StoreError, ValueError):
    """The new name `task` is the name of another task."""

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(f"there is a task {task!r} already; choose another name, or remove that task first")


class NothingToUndo(StoreError, LookupError):
    """There is no change of labels to take back, in the whole store or in `task`; or the last one, of the time `last`,
    is not the one that the caller wants to take back."""

    def __init__(self, task: str | None, last: datetime | None = None) -> None:
        self.task, self.last = task, last
        where = "in this store" if task is None else f"of task {task!r}"
        super().__init__(
            f"the last change of labels {where} is another one, of {last.isoformat()}; look at it before you undo it"
            if last
            else f"no change of labels {where} is left to take back"
        )


class UnknownFeatures(StoreError, LookupError):
    """Nothing of one form is stored for the encoder `name`.

    Attributes:
        known: the encoders that have some, with their fingerprints.
        what: the form, "vectors" or "tokens".
    """

    def __init__(self, name: str, known: Sequence[str], what: Literal["vectors", "tokens"] = "vectors") -> None:
        self.name, self.known, self.what = name, list(known), what
        super().__init__(f"no {what} of encoder {name!r} are stored; stored encoders: {_some(self.known, 20)}")


class AmbiguousFeatures(StoreError, LookupError):
    """Several stored encoders have the name, or the fingerprint prefix, `name`. `matches` lists them."""

    def __init__(self, name: str, matches: Sequence[str]) -> None:
        self.name, self.matches = name, list(matches)
        super().__init__(f"{name!r} matches several encoders: {_some(self.matches, 20)}; give a full fingerprint")


class FeaturesMismatch(StoreError, ValueError):
    """A feature table of this fingerprint exists, but with another probe, spec, dtype or format."""


class BadVectors(StoreError, ValueError):
    """Vectors have the wrong shape, or are not finite in the table's dtype."""


class BadLabels(StoreError, ValueError):
    """Labels are not allowed here, e.g. two labels on a row of a task that needs one class a row."""


class NotOneLabel(BadLabels):
    """A row has no label or several, where exactly one is needed.

    Attributes:
        id: asset id of the first such row.
        labels: its labels.
        rows: number of such rows.
    """

    def __init__(self, task: str, id_: str, labels: Sequence[str], rows: int) -> None:
        self.task, self.id, self.labels, self.rows = task, id_, list(labels), rows
        super().__init__(
            f"task {task!r} has rows with {len(labels)} labels; classes need exactly one per row. The first of {rows} "
            f"such rows is asset {id_}, with {_some(map(repr, labels))}"
        )


class BadSplit(StoreError, ValueError):
    """There is no such split, or a row may not get it."""


class FrozenSplit(BadSplit):
    """Rows of `task` were given another split than the stored one.

    Attributes:
        moves: (asset id, stored split, given split) of each such row.
    """

    def __init__(self, task: str, moves: Sequence[tuple[str, str, str]]) -> None:
        self.task, self.moves = task, list(moves)
        id_, stored, given = self.moves[0]
        super().__init__(
            f"{len(self.moves)} assets of task {task!r} already have another split, and a split is frozen once given; "
            f"the first is {id_}: stored as {stored}, now given as {given}. Leave the split out to keep the stored one"
        )


class WrongSchema(StoreError, ValueError):
    """A table has a name that Headwater uses, but other columns or another layout."""


class SnapshotGone(StoreError, LookupError):
    """The files of a pinned version have been removed."""


class ContentChanged(StoreError, ValueError):
    """The file at the uri of an asset stored by reference cannot be read, or its digest is no longer the asset's."""


class BadSource(StoreError, ValueError):
    """A folder or a file cannot be ingested or imported."""


class NoExport(BadSource):
    """A folder holds no export of a store."""


class UntrustedReferences(BadSource):
    """An import has assets by reference, and the caller does not trust its references."""


class BadFile(StoreError, OSError):
    """A path must not be read: it is no regular file, too large, or outside of an allowed folder.

    Attributes:
        reason: `not_a_file`, `too_large` or `outside_root`.
    """

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class Unavailable(StoreError):
    """The files of the store cannot be read or written now: permissions, a read-only disk, a removed folder, damage."""


class DiskFull(StoreError):
    """The disk is full."""


class NoRoom(DiskFull):
    """The disk is too full for the rows that a job is about to write."""


_FULL = {ENOSPC: "make room", EDQUOT: "raise the quota, or make room", EFBIG: "raise the limit on the size of files"}
_UNAVAILABLE = {
    **dict.fromkeys((EACCES, EPERM), "let the user of this process read and write there"),
    EROFS: "mount the disk writable",
    **dict.fromkeys((ENOENT, ENOTDIR, EISDIR, ESTALE, ENODEV, ENOTCONN), "restore the folder, or mount its disk"),
    **dict.fromkeys((EMFILE, ENFILE), "raise the limit on open files (ulimit -n)"),
    EIO: "check the disk, and restore a backup",
    **dict.fromkeys((EBUSY, ENOLCK, ETIMEDOUT), "try again"),
}


def disk_fault(number: int | None, place: str) -> StoreError | None:
    """Return the operating system's error `number` as DiskFull or Unavailable; None if it is no fault of a disk.

    Args:
        place: path or URI that was read or written, for the message.
    """
    if number in _FULL:
        return DiskFull(f"the disk of {place} is full ({os.strerror(number)}); {_FULL[number]}")
    if number in _UNAVAILABLE:
        return Unavailable(f"{place} cannot be used ({os.strerror(number)}); {_UNAVAILABLE[number]}")
    return None
