"""The file behind a pretrained tag: from a cache, or fetched into it, or the command that does so."""

import hashlib
import os
import shlex
from pathlib import Path
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.pretrained import download_pretrained

from embedder.errors import WeightsError

_DOWNLOADS = Path("~/.cache/clip")
"""Where open_clip keeps what it downloads from plain addresses."""


def checkpoint(name: str, model: str, record: dict[str, Any]) -> Path:
    """The weights of open_clip's `record`. The network is asked only for what no cache has, and never offline.

    Raises WeightsError with the commands that fetch them, and for a download that is damaged.
    """
    found = record.get("file") or _cached(record.get("hf_hub", "")) or _downloaded(record.get("url", ""))
    if found:
        return Path(found)
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(_missing(name, model, record, "HF_HUB_OFFLINE is set"))
    try:
        return Path(download_pretrained(record))
    except Exception as error:  # whatever the hub, its client or the network raises
        raise WeightsError(_missing(name, model, record, str(error))) from error


def _cached(hub: str) -> str | None:
    """In the hub's cache, whose client would ask the network first whether there is a newer one."""
    repository, file = os.path.split(hub)
    names = (file,) if file else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    paths = [try_to_load_from_cache(repository, name) for name in names] if repository else []
    return next((path for path in paths if isinstance(path, str)), None)


def _downloaded(url: str) -> Path | None:
    path = _place(url)
    if not url or not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(expected := _digest(url)):
        raise WeightsError(f"{path} is damaged: its sha256 is {digest}, not {expected}; delete it and fetch it again")
    return path


def _place(url: str) -> Path:
    return _DOWNLOADS.expanduser() / os.path.basename(url)


def _digest(url: str) -> str:
    """The sha256, or its beginning, that an address states; empty where it states none."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    return Path(url).stem.rpartition("-")[2] if "mlfoundations" in url else ""


def _missing(name: str, model: str, record: dict[str, Any], why: str) -> str:
    ways = []
    if hub := record.get("hf_hub"):
        repository, file = os.path.split(hub)
        other = "" if file else f" (or {HF_WEIGHTS_NAME}, where the repository has only that)"
        ways.append(f"hf download {repository} {file or HF_SAFE_WEIGHTS_NAME}{other}")
    if url := record.get("url"):
        checked = "; its sha256 is checked" if _digest(url) else ""
        ways.append(f"curl -L --create-dirs -o {shlex.quote(str(_place(url)))} {url}{checked}")
    return (
        f"the weights of openclip/{name} are not on this machine and could not be fetched ({why}). Where there is "
        f"internet access run: {' — or: '.join(ways)}. Elsewhere copy what that made to the same place, or give the "
        f"file as openclip/{model}@FILE"
    )


def parts(repository: str, *patterns: str) -> str:
    """The command that fetches the small files of a hub's repository that a model needs beside its weights."""
    return f"hf download {repository} " + " ".join(f"--include {shlex.quote(pattern)}" for pattern in patterns)
