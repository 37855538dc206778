"""Licences that do not allow every use: an encoder is refused until the caller confirms that the use is allowed."""

import logging
from pathlib import Path

from embedder.errors import LicenceNotAccepted

log = logging.getLogger("headwater.embedder")


def check(encoder: str, notice: str, *, accepted: bool, marker: Path) -> None:
    """Raise LicenceNotAccepted, or log the notice if the licence has been accepted.

    Args:
        encoder: name of the encoder, for the error.
        notice: what the licence says.
        marker: a file that is made when the notice is logged, so that it is logged once.
    """
    if not accepted:
        raise LicenceNotAccepted(encoder, notice)
    if not marker.exists():
        log.warning("%s. You confirmed that your use is not commercial.", notice)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
