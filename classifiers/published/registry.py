"""Heads by name, version and alias, in a folder that many processes may publish to at once."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from classifiers.errors import BadArtifact, BadName, UnknownAlias, UnknownHead, UnknownVersion
from classifiers.heads.base import Head
from classifiers.published.artifact import load, pack, read_manifest, sync_folder, write
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import TrainingRecord

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
VERSION = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{12}")
ALIASES = "aliases.json"
LATEST = "latest"


class Registry:
    """`<root>/<name>/<version>/` with `aliases.json` beside the versions.

    A version is written under a temporary name and renamed, so readers see it whole or not at all; publishers
    of one head take turns by a lock file that the kernel frees when its holder dies.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def publish(self, name: str, head: Head, record: TrainingRecord, files: Mapping[str, bytes] | None = None) -> str:
        """Stores a head and points `latest` at it; returns its version.

        Content that is there already, and still loads, gets no new version: `latest` then points at the old
        one.

        Args:
            files: report files by name, e.g. report.json.
        """
        folder = self.root / check_name(name)
        manifest, contents = pack(head, record, files or {})
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            alike = [each for each in self._versions(folder) if each.endswith(f"-{manifest.digest()}")]
            intact = [each for each in alike if _loads(folder / each)]
            version = intact[-1] if intact else manifest.version()
            if not intact:
                _place(folder, version, contents)
            _write_aliases(folder, {**_read_aliases(folder), LATEST: version})
        return version

    def names(self) -> list[str]:
        """Names of all heads, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and NAME.fullmatch(path.name))

    def versions(self, name: str) -> list[str]:
        """Versions of a head, oldest first. Raises UnknownHead."""
        return self._versions(self._existing(name))

    def aliases(self, name: str) -> dict[str, str]:
        """Alias → version. Raises UnknownHead; BadArtifact when aliases.json cannot be read."""
        return _read_aliases(self._existing(name))

    def path(self, reference: str) -> Path:
        """The version folder that "name", "name@alias" or "name@version" stands for; "name" is the latest.

        Raises UnknownHead, UnknownAlias, UnknownVersion or BadName.
        """
        name, _, which = reference.partition("@")
        folder = self._existing(name)
        if VERSION.fullmatch(which):
            if which not in self._versions(folder):
                raise UnknownVersion(which, self._versions(folder))
            return folder / which
        aliases = _read_aliases(folder)
        alias = which or LATEST
        if alias not in aliases:
            raise UnknownAlias(alias, sorted(aliases))
        return folder / aliases[alias]

    def load(self, reference: str) -> PublishedHead:
        """The head of a reference, see `path`; raises BadArtifact as well."""
        return load(self.path(reference))

    def load_all(self) -> tuple[dict[str, PublishedHead], dict[str, str]]:
        """Every head that an alias points to, and what was refused.

        Returns:
            heads: by reference: "name" for the latest, "name@alias" for every alias; one object per version.
            refused: reason by the same references. A bad head never keeps another from loading.
        """
        heads: dict[str, PublishedHead] = {}
        refused: dict[str, str] = {}
        for name in self.names():
            try:
                aliases = self.aliases(name)
            except BadArtifact as error:
                refused[name] = error.reason
                continue
            for version in sorted(set(aliases.values())):
                references = [f"{name}@{alias}" for alias, target in aliases.items() if target == version]
                references += [name] if aliases.get(LATEST) == version else []
                try:
                    heads |= dict.fromkeys(references, load(self.root / name / version))
                except BadArtifact as error:
                    refused |= dict.fromkeys(references, error.reason)
        return heads, refused

    def promote(self, name: str, alias: str, version: str) -> None:
        """Points an alias at a version (or at what another alias points to).

        Raises UnknownHead, UnknownVersion, UnknownAlias, BadArtifact for a version that does not load, and
        BadName for an alias that could be taken for a version or for `latest`, which follows publishing.
        """
        if alias == LATEST or not NAME.fullmatch(alias) or VERSION.fullmatch(alias):
            raise BadName(f"alias {alias!r}: use letters, digits, '_' and '-', and not 'latest' or a version")
        path = self.path(f"{name}@{version}")
        load(path)
        with locked(path.parent):
            _write_aliases(path.parent, {**_read_aliases(path.parent), alias: path.name})

    def diff(self, name: str, a: str, b: str) -> dict[str, tuple[Any, Any]]:
        """Manifest entries that differ between two versions or aliases: dotted name → (in a, in b)."""
        left, right = (_flat(read_manifest(self.path(f"{name}@{each}")).model_dump(mode="json")) for each in (a, b))
        changed = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
        return {key: (left.get(key), right.get(key)) for key in changed}

    def _existing(self, name: str) -> Path:
        if name not in self.names():
            raise UnknownHead(name, self.names())
        return self.root / name

    def _versions(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir() if VERSION.fullmatch(path.name))


def check_name(name: str, what: str = "head") -> str:
    """A name that is also a folder name. Raises BadName, which says `what` it would have named."""
    if not NAME.fullmatch(name):
        raise BadName(f"{what} name {name!r}: use 1 to 64 letters, digits, '_' and '-', no '_' or '-' first")
    return name


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, waiting for it; the kernel frees it when the process ends, however it ends."""
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _loads(folder: Path) -> bool:
    try:
        load(folder)
    except BadArtifact:
        return False
    return True


def _place(folder: Path, version: str, contents: Mapping[str, bytes]) -> None:
    """Writes a version whole. Leftovers of publishers that died are removed: the lock says none is alive."""
    for leftover in folder.glob(".new-*"):
        shutil.rmtree(leftover)
    temporary = folder / f".new-{uuid.uuid4().hex}"
    write(temporary, contents)
    temporary.rename(folder / version)
    sync_folder(folder)


def _read_aliases(folder: Path) -> dict[str, str]:
    """Alias → version. Without aliases.json (a folder copied by hand) the newest version is the latest."""
    path = folder / ALIASES
    if not path.exists():
        versions = sorted(each.name for each in folder.iterdir() if VERSION.fullmatch(each.name))
        return {LATEST: versions[-1]} if versions else {}
    try:
        aliases = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadArtifact(folder, f"{ALIASES} is not JSON: {error}") from error
    if not isinstance(aliases, dict):
        raise BadArtifact(folder, f"{ALIASES} holds a {type(aliases).__name__}, expected an object")
    for alias, version in aliases.items():
        if not isinstance(version, str) or not VERSION.fullmatch(version):
            raise BadArtifact(folder, f"{ALIASES}: {alias!r} points to {version!r}, which is no version")
    return aliases


def _write_aliases(folder: Path, aliases: Mapping[str, str]) -> None:
    temporary = folder / f".{ALIASES}.new"
    with temporary.open("w") as file:
        json.dump(aliases, file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / ALIASES)
    sync_folder(folder)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested objects as one level with dotted names."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }
