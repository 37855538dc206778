"""The registry: heads by name, version and alias, in a folder that many processes may publish to at once."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from classifiers.errors import AliasInUse, BadArtifact, BadName, NotTrainable, UnknownAlias, UnknownHead, UnknownVersion
from classifiers.heads.base import Head
from classifiers.names import NAME, check_name
from classifiers.published.artifact import load, pack, read_manifest
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import TrainingRecord, version_time
from embedder import files, folders

VERSION = re.compile(r"\d{8}T\d{9}Z-[0-9a-f]{12}")
TIME = len("20260102T030405678")
"""Number of characters of a version before the Z."""
ALIASES, LOCK = "aliases.json", ".lock"
LATEST = "latest"


class Registry:
    """The published heads in a folder: `<root>/<name>/<version>/`, with `aliases.json` beside the versions.

    The name of a version begins with a time that rises with every publication of that head, see `_next`. A version
    appears all at once, so readers never see a part of it. Publishers of one head take turns by a lock file,
    which the operating system frees when the process that holds it ends.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def publish(self, name: str, head: Head, record: TrainingRecord, files: Mapping[str, bytes] | None = None) -> str:
        """Store a head, point `latest` at it, and return its version.

        If a version with the same content exists and loads, no new version is made: `latest` points at the old one.

        Args:
            files: content of report files by name, e.g. report.json.

        Raises BadName; NotTrainable for a head that could not be loaded again, e.g. because its numbers are not finite.
        """
        folder = self.root / check_name(name)
        manifest, contents = pack(head, record, files or {})
        with folders.lock(folder / LOCK):
            folders.remove_leftovers(folder)
            alike = [each for each in _versions(folder) if each.endswith(f"-{manifest.digest()}")]
            intact = [each for each in alike if _damage(folder / each) is None]
            version = intact[-1] if intact else _next(manifest.version(), _versions(folder))
            if not intact:
                folders.write_whole(folder / version, contents)
                _require_loadable(folder / version)
            _write_aliases(folder, {**_read_aliases(folder), LATEST: version})
        return version

    def names(self) -> list[str]:
        """Return the names of all heads, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and NAME.fullmatch(path.name))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a head, in the order of publication. Raises UnknownHead, BadArtifact."""
        return _versions(self._existing(name))

    def aliases(self, name: str) -> dict[str, str]:
        """Return alias → version. Raises UnknownHead, and BadArtifact if aliases.json cannot be read."""
        return _read_aliases(self._existing(name))

    def path(self, reference: str) -> Path:
        """Return the version folder of "name", "name@alias" or "name@version"; "name" is the latest version.

        Raises UnknownHead, UnknownAlias, UnknownVersion; BadArtifact if aliases.json cannot be read.
        """
        name, _, which = reference.partition("@")
        folder = self._existing(name)
        if VERSION.fullmatch(which):
            if which not in _versions(folder):
                raise UnknownVersion(which, _versions(folder))
            return folder / which
        aliases = _read_aliases(folder)
        alias = which or LATEST
        if alias not in aliases:
            raise UnknownAlias(alias, sorted(aliases))
        return folder / aliases[alias]

    def load(self, reference: str) -> PublishedHead:
        """Return the head of a reference, see `path`. Raises BadArtifact if the head cannot be loaded."""
        return load(self.path(reference))

    def load_all(self) -> tuple[dict[str, PublishedHead], dict[str, str]]:
        """Return every head that an alias points to, and the reasons why others were refused.

        Returns:
            heads: head by reference: "name" for the latest, "name@alias" for every alias; one object a version.
            refused: reason by reference. A damaged head does not prevent others from loading.
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
        """Point an alias at a version, or at the version that another alias points to.

        Raises:
            UnknownHead, UnknownVersion, UnknownAlias: they do not exist.
            BadArtifact: the version cannot be loaded.
            BadName: the alias looks like a version, or is `latest`, which publishing sets.
        """
        if alias == LATEST or not NAME.fullmatch(alias) or VERSION.fullmatch(alias):
            raise BadName(f"alias {alias!r}: use letters, digits, '_' and '-', and not 'latest' or a version")
        path = self.path(f"{name}@{version}")
        load(path)
        with folders.lock(path.parent / LOCK):
            _write_aliases(path.parent, {**_read_aliases(path.parent), alias: path.name})

    def remove(self, reference: str) -> str:
        """Remove the version of a reference, see `path`, and return it. `latest` then is the version before it.

        Raises AliasInUse if an alias other than `latest` points to it; UnknownHead, UnknownAlias, UnknownVersion.
        """
        path = self.path(reference)
        folder = path.parent
        with folders.lock(folder / LOCK):
            aliases = _read_aliases(folder)
            if using := sorted(alias for alias, to in aliases.items() if to == path.name and alias != LATEST):
                raise AliasInUse(folder.name, path.name, using)
            left = [version for version in _versions(folder) if version != path.name]
            if left:
                latest = left[-1] if aliases.get(LATEST) == path.name else aliases.get(LATEST, left[-1])
                _write_aliases(folder, {**aliases, LATEST: latest})
            _discard(path if left else folder)
        return path.name

    def remove_all(self, name: str) -> list[str]:
        """Remove a head with all versions and aliases, and return the versions. Raises UnknownHead."""
        folder = self._existing(name)
        with folders.lock(folder / LOCK):
            versions = _versions(folder)
            _discard(folder)
        return versions

    def diff(self, name: str, a: str, b: str) -> dict[str, tuple[Any, Any]]:
        """Return the manifest entries that differ between two versions or aliases: dotted name → (in a, in b)."""
        left, right = (_flat(read_manifest(self.path(f"{name}@{each}")).model_dump(mode="json")) for each in (a, b))
        changed = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
        return {key: (left.get(key), right.get(key)) for key in changed}

    def _existing(self, name: str) -> Path:
        if not NAME.fullmatch(name) or not (self.root / name).is_dir():
            raise UnknownHead(name, self.names())
        return self.root / name


def _versions(folder: Path) -> list[str]:
    """Return the versions in a head's folder, oldest first. Raises BadArtifact if the folder cannot be read."""
    try:
        return sorted(path.name for path in folder.iterdir() if VERSION.fullmatch(path.name))
    except OSError as error:
        raise BadArtifact(folder, f"the folder cannot be read: {error.strerror}") from error


def _discard(path: Path) -> None:
    """Remove a folder. It is renamed first, so that no reader sees a part of it; a kill leaves a hidden folder."""
    hidden = path.with_name(f".removed-{path.name}-{uuid4().hex[:8]}")
    path.rename(hidden)
    shutil.rmtree(hidden)


def _next(version: str, before: Sequence[str]) -> str:
    """Return the version with a time after those of all versions `before`, which are sorted.

    The clock of the machine may be set back, so the time in a version's name is also a sequence number: the order of
    the names is the order of publication. Times that are no dates, in folders named by hand, do not count.
    """
    for each in reversed(before):
        try:
            after = datetime.strptime(each[:TIME], "%Y%m%dT%H%M%S%f") + timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            continue
        return max(version[:TIME], version_time(after)) + version[TIME:]
    return version


def _damage(folder: Path) -> str | None:
    """Return the reason why a version cannot be loaded; None if it can."""
    try:
        load(folder)
    except BadArtifact as error:
        return error.reason
    return None


def _require_loadable(folder: Path) -> None:
    """Remove a new version that cannot be loaded, and raise NotTrainable."""
    if reason := _damage(folder):
        shutil.rmtree(folder)
        raise NotTrainable(f"the head is not published, because no service would load it: {reason}")


def _read_aliases(folder: Path) -> dict[str, str]:
    """Return alias → version. Without aliases.json, the version published last is the latest.

    That file may be missing in a folder that was copied by hand.

    Raises BadArtifact.
    """
    try:
        aliases = files.read_json(folder / ALIASES)
    except FileNotFoundError:
        versions = _versions(folder)
        return {LATEST: versions[-1]} if versions else {}
    except OSError as error:
        raise BadArtifact(folder, f"{ALIASES} cannot be read: {error.strerror}") from error
    except files.Refused as error:
        raise BadArtifact(folder, f"{ALIASES} is refused: {error}") from error
    for alias, version in aliases.items():
        if not NAME.fullmatch(alias):
            raise BadArtifact(folder, f"{ALIASES}: {alias[:100]!r} is not the name of an alias")
        if not isinstance(version, str) or not VERSION.fullmatch(version):
            raise BadArtifact(folder, f"{ALIASES}: {alias!r} points to {str(version)[:100]!r}, which is not a version")
    return aliases


def _write_aliases(folder: Path, aliases: Mapping[str, str]) -> None:
    folders.write_file(folder / ALIASES, json.dumps(aliases, indent=2, sort_keys=True).encode())


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested objects as one level with dotted names."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: leaf
        for key, inner in value.items()
        for name, leaf in _flat(inner, f"{prefix}.{key}" if prefix else key).items()
    }
