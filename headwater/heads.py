"""Heads on disk, for programs that ask them without a service."""

from pathlib import Path

from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry


def load_head(name: str, *, heads: str | Path = "heads") -> PublishedHead:
    """Return a published head. `head.answer(X)` has one answer for each row of X, (n, d) vectors of its encoder.

    Args:
        name: ``name``, ``name@alias`` or ``name@version``.
        heads: the folder of heads.

    Raises UnknownHead, UnknownAlias, UnknownVersion, and BadArtifact for a head that is damaged.
    """
    return Registry(Path(heads)).load(name)
