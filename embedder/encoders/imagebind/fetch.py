"""ImageBind's published weights: from the cache, or fetched into it, or the command that does so."""

import hashlib
import shlex
from pathlib import Path

import torch
from filelock import FileLock
from huggingface_hub import constants

from embedder.errors import WeightsError

URL = "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth"
SIZE = 4_803_584_173
SHA256 = "d6f6c22bedcc90708448d5d2fbb7b2db9c73f505dc89bd0b2e09b23af1b62157"
"""Not stated by the authors. Two public projects that fetched the file from `URL` name these, and agree."""


def checkpoint(folder: Path) -> Path:
    """The file in `folder`, its sha256 checked. The network is asked when it is not there, and HF_HUB_OFFLINE not set.

    Raises WeightsError with the command that fetches it.
    """
    path = folder / "imagebind_huge.pth"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "imagebind_huge.lock"):
        if not path.is_file():
            _download(path)
    with path.open("rb") as file:
        digest = "of another size" if path.stat().st_size != SIZE else hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise WeightsError(f"{path} is damaged: its sha256 is {digest}, not {SHA256}; delete it and fetch it again")
    return path


def _download(path: Path) -> None:
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(_missing(path, "HF_HUB_OFFLINE is set"))
    try:
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256)
    except (OSError, RuntimeError) as error:
        raise WeightsError(_missing(path, str(error))) from error


def _missing(path: Path, why: str) -> str:
    return (
        f"the weights of imagebind/huge ({SIZE / 1e9:.1f} GB) are not on this machine and could not be fetched "
        f"({why}). Where there is internet access run: curl -L --create-dirs -o {shlex.quote(str(path))} {URL}; "
        f"its sha256 is checked. Elsewhere copy the file to the same place, or give it as imagebind/huge@FILE"
    )
