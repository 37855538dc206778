"""Licences: they are shown, and an encoder whose licence forbids commercial use needs the caller's confirmation."""

import logging
import re
from pathlib import Path

from embedder.errors import LicenceNotAccepted

log = logging.getLogger("headwater.embedder")

_NONCOMMERCIAL = re.compile(r"(^|[-_ ])nc([-_ ]|$)|non-?commercial|research|amlr|seer", re.IGNORECASE)
"""Names of licences that forbid commercial use: Creative Commons NC, and those of some laboratories."""
_FRONT_MATTER = re.compile(r"\A\s*---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_NAMED = r"^{field}:[ \t\r]*(?:\n[ \t]*-[ \t]+)?[\"']?(\w[\w.+-]*)"
"""The value of a field, or the first of its list, in the YAML at the start of a model card."""
_MOST_CARD = 2**20
"""Longest model card whose front matter is read, bytes."""


def check(encoder: str, notice: str, *, accepted: bool, marker: Path) -> None:
    """Raise LicenceNotAccepted, or log the notice if the licence has been accepted.

    Args:
        encoder: name of the encoder, for the error.
        notice: what the licence says.
        marker: a file that is made when the notice is logged, so that it is logged once.
    """
    if not accepted:
        raise LicenceNotAccepted(encoder, notice)
    _log_once(f"{notice}. You confirmed that your use is not commercial.", marker)


def check_named(encoder: str, origin: str, licence: str | None, *, accepted: bool, marker: Path) -> None:
    """Show a licence that a model names, once. Raises LicenceNotAccepted for one that forbids commercial use.

    Args:
        origin: where the weights are published, for people.
        licence: the licence's name as published, e.g. ``cc-by-nc-4.0``; None if none is named.
        accepted, marker: see `check`.
    """
    if licence and _NONCOMMERCIAL.search(licence):
        notice = (
            f"the weights of {origin} have the licence {licence}, which does not allow commercial use. Vectors and "
            "heads made with them may be bound by it too"
        )
        check(encoder, notice, accepted=accepted, marker=marker)
        return
    said = f"the licence {licence}" if licence else "no licence that its page names; read the page before you use them"
    _log_once(f"The weights of {origin} have {said}.", marker)


def of_card(path: Path) -> str | None:
    """Return the licence that a model card names, or None. A card that cannot be read names none."""
    try:
        text = path.read_bytes()[:_MOST_CARD].decode("utf-8-sig", "replace")
    except OSError:
        return None
    front = _FRONT_MATTER.search(text)
    fields = [_NAMED.format(field=field) for field in ("license_name", "license")]
    found = [re.search(field, front[1], re.MULTILINE) for field in fields] if front else []
    return next((each[1] for each in found if each), None)


def _log_once(text: str, marker: Path) -> None:
    if not marker.exists():
        log.warning("%s", text)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
