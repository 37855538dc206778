"""What can go wrong in the store. Standard library only, so that anything may catch these cheaply."""

from collections.abc import Iterable, Sequence


def _some(values: Iterable[str], most: int = 5) -> str:
    """The first few of `values` for a message, and how many there are in all."""
    listed = list(values)
    shown = ", ".join(listed[:most]) or "none"
    return shown if len(listed) <= most else f"{shown}, … ({len(listed)} in all)"


class StoreError(Exception):
    """Base of all errors of the store, and raised itself for a store that cannot be opened or used."""


class UnknownId(StoreError, LookupError):
    """Assets that are not in the store. `ids` lists them."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        super().__init__(f"no such asset: {_some(self.ids)}; ingest it first")


class UnknownTask(StoreError, LookupError):
    """A task without labels. `task` was asked, `known` lists those there are."""

    def __init__(self, task: str, known: Sequence[str]) -> None:
        self.task, self.known = task, list(known)
        super().__init__(f"no labels for task {task!r}; tasks in this store: {_some(self.known, 20)}")


class UnknownFeatures(StoreError, LookupError):
    """No stored vectors (or tokens) of that encoder. `known` lists names with their fingerprints."""

    def __init__(self, name: str, known: Sequence[str], what: str = "vectors") -> None:
        self.name, self.known = name, list(known)
        super().__init__(f"no {what} of encoder {name!r}; stored are: {_some(self.known, 20)}; run a backfill first")


class AmbiguousFeatures(StoreError, LookupError):
    """A name or a prefix that several stored fingerprints answer to."""

    def __init__(self, name: str, matches: Sequence[str]) -> None:
        self.name, self.matches = name, list(matches)
        super().__init__(f"{name!r} means several encoders: {_some(self.matches, 20)}; give a whole fingerprint")


class FeaturesMismatch(StoreError, ValueError):
    """A feature table exists for that fingerprint but was made with another probe, spec, dtype or format."""


class BadVectors(StoreError, ValueError):
    """Vectors of the wrong shape, or not finite in the table's dtype."""


class BadLabels(StoreError, ValueError):
    """Labels that do not fit the question, e.g. two labels on a row where classes must be exclusive."""


class BadSplit(StoreError, ValueError):
    """A split that does not exist, or another split for a row whose split is frozen."""


class WrongSchema(StoreError, ValueError):
    """A table with one of our names whose columns are not ours."""


class SnapshotGone(StoreError, LookupError):
    """A pinned version whose files have been cleaned up."""


class ContentChanged(StoreError, ValueError):
    """The bytes at a reference asset's uri no longer have the asset's digest, or cannot be read."""


class BadSource(StoreError, ValueError):
    """A folder or a Parquet file that cannot be ingested or imported."""


class NoRoom(StoreError):
    """The disk is too full for what a job is going to write."""
