"""Published weights: found in a cache, or downloaded into it. Offline, an error says where they are published.

A cache is looked at first: a hub's client would ask the network whether there is a newer file.
"""

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from embedder import folders
from embedder.errors import Published, WeightsError, WeightsMissing

_SHA256_DIGITS = 64


class Source(Protocol):
    """One place where weights are published."""

    def cached(self) -> Path | None:
        """Return the file or folder if it is on this machine, without the network. Raises WeightsError if damaged."""

    def download(self) -> Path:
        """Download the file or folder into the cache and return it. Raises whatever the network's client raises."""

    def published(self) -> Published:
        """Return where the weights are published and where they belong, as data for an error."""


def fetch(encoder: str, sources: Sequence[Source], own: str) -> Path:
    """Return the weights from the first source that a cache holds, otherwise download them from the first source.

    Args:
        encoder: name of the encoder, for the error.
        own: how a user names weights of their own, e.g. ``mlcd/base@FOLDER``, for the error.

    Raises WeightsMissing if no cache holds them and they cannot be downloaded, e.g. because huggingface_hub is set to
    offline; WeightsError if the cached file is damaged.
    """
    for source in sources:
        if found := source.cached():
            return found
    published = [source.published() for source in sources]
    if constants.HF_HUB_OFFLINE:
        raise WeightsMissing(encoder, "downloads are switched off: huggingface_hub is set to offline", published, own)
    try:
        return sources[0].download()
    except Exception as error:  # whatever the hub, its client or the network raises
        raise WeightsMissing(encoder, _why(error, published[0].origin), published, own) from error


def _why(error: Exception, origin: str) -> str:
    """Return why a download failed, and what helps if the hub refused it."""
    if isinstance(error, GatedRepoError):
        return (
            f"the repository {origin} is gated: accept its terms at {constants.ENDPOINT}/{origin}, then log in with "
            "`hf auth login`, or set HF_TOKEN"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the repository {origin} has no such revision; give a branch, a tag or a commit that it has"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{constants.ENDPOINT} shows no repository {origin}: check its spelling; if it is private, log in with "
            "`hf auth login`, or set HF_TOKEN"
        )
    return str(error)


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a Hugging Face repository, under the first of `names` that the repository has."""

    repository: str
    names: tuple[str, ...]

    def cached(self) -> Path | None:
        found = (try_to_load_from_cache(self.repository, name) for name in self.names)
        return next((Path(path) for path in found if isinstance(path, str)), None)

    def download(self) -> Path:
        for name in self.names[:-1]:
            try:
                return self._get(name)
            except EntryNotFoundError:
                continue
        return self._get(self.names[-1])

    def _get(self, name: str) -> Path:
        path = Path(hf_hub_download(self.repository, name, endpoint=constants.ENDPOINT))
        _check_content(path)
        return path

    def published(self) -> Published:
        command = " || ".join(f"hf download {self.repository} {name}" for name in self.names)
        return Published(self.repository, self.names, hub_place(self.repository), command)


@dataclass(frozen=True, slots=True)
class HubFolder:
    """The files of a Hugging Face repository that match `patterns`.

    Attributes:
        is_whole: returns True if a folder has all files that are needed. A cached folder may lack some, because another
            program fetched it; a repository may lack them too.
        revision: branch, tag or commit. None means the branch ``main``, as it was when it was fetched first.
        settings: names of files of which a repository has one or none. A cached folder without them is used only if the
            hub has said that the repository has none: a broken download, or another program, may have left them out.
    """

    repository: str
    patterns: tuple[str, ...]
    is_whole: Callable[[Path], bool]
    revision: str | None = None
    settings: tuple[str, ...] = ()

    def cached(self) -> Path | None:
        folder = self._whole()
        return folder if folder and (self._has_settings(folder) or self._lacks_settings(folder)) else None

    def _whole(self) -> Path | None:
        try:
            folder = self._snapshot(self.revision, offline=True)
        except LocalEntryNotFoundError:
            return None
        return folder if self.is_whole(folder) else None

    def _has_settings(self, folder: Path) -> bool:
        return not self.settings or any((folder / name).is_file() for name in self.settings)

    def _lacks_settings(self, folder: Path) -> bool:
        """True if the hub has said so. Its client remembers that for each commit, the name of the folder."""
        found = (try_to_load_from_cache(self.repository, name, revision=folder.name) for name in self.settings)
        return all(each is not None for each in found)

    def download(self) -> Path:
        kept = self._whole()  # stays at its commit
        folder = self._snapshot(kept.name if kept else self.revision, offline=False)
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            _check_content(path)
        if not self.is_whole(folder):
            raise WeightsError(
                f"the repository {self.repository} has not all files that are needed: {', '.join(self.patterns)}"
            )
        if not self._has_settings(folder):
            for name in self.settings:
                with suppress(EntryNotFoundError):  # the client remembers the answer
                    hf_hub_download(self.repository, name, revision=folder.name, endpoint=constants.ENDPOINT)
        return folder

    def _snapshot(self, revision: str | None, *, offline: bool) -> Path:
        return Path(
            snapshot_download(
                self.repository,
                revision=revision,
                allow_patterns=[*self.patterns],
                local_files_only=offline,
                endpoint=constants.ENDPOINT,
            )
        )

    def published(self) -> Published:
        command = f"hf download {self.repository}"
        command += f" --revision {shlex.quote(self.revision)}" if self.revision else ""
        return Published(self.repository, self.patterns, hub_place(self.repository), command)


def _check_content(path: Path) -> None:
    """Delete a file of the hub's cache, and raise WeightsError, if its content is not what the hub announced.

    The cache names a large file by its sha256. The hub's client compares only the size.
    """
    blob = path.resolve()
    if len(blob.name) == _SHA256_DIGITS and (found := folders.digest(blob)) != blob.name:
        blob.unlink()
        path.unlink()
        raise WeightsError(f"{path.name} arrived damaged: its sha256 is {found}, not {blob.name}; fetch it again")


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file at a plain address.

    Attributes:
        place: path of the file on this machine.
        sha256: digest of the file, or its first digits; empty if it is not known.
        size: size of the file, bytes; None if it is not known.
    """

    url: str
    place: Path
    sha256: str = ""
    size: int | None = None

    def cached(self) -> Path | None:
        if not self.place.is_file():
            return None
        self._check()
        return self.place

    def _check(self) -> None:
        """Raise WeightsError for a file of another size, which is not read, or of another digest."""
        size = self.place.stat().st_size
        if self.size not in (None, size):
            raise WeightsError(f"{self.place} has {size} bytes, not {self.size}; delete it and fetch it again")
        if self.sha256 and not (found := folders.digest(self.place)).startswith(self.sha256):
            raise WeightsError(
                f"{self.place} is damaged: its sha256 is {found}, not {self.sha256}; delete it and fetch it again"
            )

    def download(self) -> Path:
        import torch

        with folders.lock(self.place.with_suffix(".lock")):
            if found := self.cached():  # another process was first
                return found
            # torch leaves its temporary file behind when the process is killed; the next scratch folder removes it.
            with folders.scratch(self.place.parent) as fresh:
                torch.hub.download_url_to_file(self.url, str(fresh / "file"), hash_prefix=self.sha256 or None)
                (fresh / "file").replace(self.place)
            self._check()
        return self.place

    def published(self) -> Published:
        place = shlex.quote(str(self.place))
        command = f"curl -L --create-dirs -o {place} {shlex.quote(self.url)}"
        return Published(self.url, (self.place.name,), self.place, command)


def hub_place(repository: str) -> Path:
    """Return the folder in the hub's cache that holds a repository."""
    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def hub_command(repository: str, *patterns: str) -> str:
    """Return the shell command that downloads the files of a repository that match `patterns`."""
    return f"hf download {repository} " + " ".join(f"--include {shlex.quote(pattern)}" for pattern in patterns)
