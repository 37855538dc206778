"""Licences that do not allow every use: an encoder is refused until somebody says that this use is allowed."""

import logging
from pathlib import Path

from embedder.errors import LicenceNotAccepted

log = logging.getLogger("headwater.embedder")


def check(encoder: str, notice: str, *, accepted: bool, told: Path) -> None:
    """Raise LicenceNotAccepted, or log the notice if the licence has been accepted.

    Args:
        encoder: name of the encoder, for the error.
        notice: what the licence says.
        told: a file that marks the notice as logged, so that it is logged once.
    """
    if not accepted:
        raise LicenceNotAccepted(encoder, notice)
    if not told.exists():
        log.warning("%s. You said that your use is not commercial.", notice)
        told.parent.mkdir(parents=True, exist_ok=True)
        told.touch()
