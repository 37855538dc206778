"""Weights that may not be used for everything: refused until somebody says that this use is allowed."""

import logging
from pathlib import Path

from embedder.errors import LicenceNotAccepted

log = logging.getLogger("headwater.embedder")

_NONCOMMERCIAL = {
    "imagebind": "ImageBind's code and weights are Meta's, under CC BY-NC 4.0 "
    "(https://creativecommons.org/licenses/by-nc/4.0/; the LICENSE file beside them is CC BY-NC-SA 4.0): with credit "
    "to Girdhar et al., ImageBind, CVPR 2023, and not for commercial use. Vectors and heads made with them may be "
    "bound by it too"
}


def check(family: str, *, accepted: bool, folder: Path) -> None:
    """Log the notice of an encoder's family once a `folder` (of caches), if its licence has been accepted.

    Raises LicenceNotAccepted otherwise. Nothing happens for families without a notice.
    """
    notice = _NONCOMMERCIAL.get(family)
    if notice is None:
        return
    if not accepted:
        raise LicenceNotAccepted(
            f"{notice}. If your use is not commercial, say so: --accept-noncommercial, or the setting "
            "HEADWATER_ACCEPT_NONCOMMERCIAL=true"
        )
    told = folder / f"{family}-licence-told"
    if not told.exists():
        log.warning("%s. Use it accordingly; you said that yours is not commercial.", notice)
        folder.mkdir(parents=True, exist_ok=True)
        told.touch()
