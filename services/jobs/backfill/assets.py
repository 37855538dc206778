"""Assets on their way through a backfill: as read, and as prepared for the encoder."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from store import Quarantined

Content = tuple[str, bytes | Exception]
"""Id of an asset, with the bytes of its file or the error of reading them."""


@dataclass(frozen=True, slots=True)
class PreparedAsset:
    """One asset after decoding: the encoder's input made from it, or its failure."""

    id: str
    prepared: NDArray[Any] | None
    failure: Quarantined | None = None


def size_of(held: PreparedAsset | Content) -> int:
    """Return the bytes that a backfill holds of an asset: its file's content, or the encoder's input."""
    if isinstance(held, PreparedAsset):
        return 0 if held.prepared is None else held.prepared.nbytes
    return len(held[1]) if isinstance(held[1], bytes) else 0
