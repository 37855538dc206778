"""Stored adapters and condensers, one folder each. A folder and the parent encoder make a derived encoder."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from embedder import folders
from embedder.derived.adapter import Adapter
from embedder.derived.condenser import Condenser
from embedder.errors import WeightsError
from embedder.manifests import Format, Unreadable
from embedder.spec import EncoderSpec, Fingerprint

KINDS: dict[str, type[Adapter | Condenser]] = {each.kind: each for each in (Adapter, Condenser)}

_FORMAT = Format("manifest.json", "adapter.safetensors")
"""Format of the folder, for all kinds. Each kind has a number of its own, `kind_format` in the manifest."""

_NAME = re.compile(rf"(?P<parent>.+)\+(?P<adapter>({'|'.join(KINDS)})-[0-9a-f]{{12}})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter or a condenser, and the encoder that it belongs to.

    Attributes:
        parent: name of the encoder whose vectors or tokens it changes.
        fingerprint: identity of that encoder.
        record: how it was learned, as JSON-able values, for people.
    """

    parent: str
    fingerprint: Fingerprint
    adapter: Adapter | Condenser
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """12 hex digits of the sha256 over the arrays and the parent's fingerprint."""
        return hashlib.sha256(f"{self.fingerprint} {self.adapter.digest}".encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Name of the folder, e.g. ``mlcd-0123456789ab``."""
        return f"{self.adapter.kind}-{self.version}"

    @property
    def name(self) -> str:
        """Name of the derived encoder."""
        return f"{self.parent}+{self.folder}"

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Return the spec of the derived encoder.

        Raises WeightsError if `parent` is not the encoder that it was learned on.
        """
        if parent.fingerprint != self.fingerprint:
            raise WeightsError(
                f"the adapter {self.folder} belongs to fingerprint {self.fingerprint[:12]} ({self.parent}), not "
                f"to {parent.fingerprint[:12]}: restore that encoder's weights, or train an adapter on this one"
            )
        try:
            return self.adapter.spec(parent)
        except ValueError as error:
            raise WeightsError(f"{self.name}: {error}") from error

    def save(self, root: Path, files: Mapping[str, bytes] | None = None) -> Path:
        """Write ``<root>/<folder>`` whole or not at all, and return it. An intact folder of that name stays.

        Args:
            files: more files by name, e.g. a report.
        """
        target = root / self.folder
        if _read(target):
            return target
        with folders.lock(root / ".lock"):
            if not _read(target):
                folders.write_whole(target, {**(files or {}), **self._files()}, replace=True)
        return target

    def _files(self) -> dict[str, bytes]:
        values = {
            "kind": self.adapter.kind,
            "kind_format": self.adapter.format,
            "parent": self.parent,
            "fingerprint": self.fingerprint,
            "record": dict(self.record),
        }
        return _FORMAT.files(values, self.adapter.arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises WeightsError for a folder that is missing, damaged or of another format."""
        try:
            manifest, arrays = _FORMAT.read(folder)
            kind = _kind(manifest)
            found = cls(manifest["parent"], manifest["fingerprint"], kind(arrays), manifest["record"])
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"the adapter in {folder} cannot be used: {error}") from error
        if folder.name != found.folder:
            raise WeightsError(f"the folder {folder} holds the adapter {found.folder}: it was renamed; rename it back")
        return found


def split_name(name: str) -> tuple[str, str] | None:
    """Split a derived encoder's name into the parent's name and the adapter's folder; None for any other name."""
    match = _NAME.fullmatch(name)
    return (match["parent"], match["adapter"]) if match else None


def stored_names(root: Path | None) -> list[str]:
    """Return the names of the derived encoders whose intact adapters are in `root`, sorted."""
    found = map(_read, adapter_folders(root))
    return sorted(stored.name for stored in found if stored)


def adapter_folders(root: Path | None) -> list[Path]:
    """Return the folders in `root` that are named like an adapter's, damaged or not, sorted."""
    return sorted(folder for kind in KINDS for folder in root.glob(f"{kind}-*")) if root else []


def _kind(manifest: Mapping[str, Any]) -> type[Adapter | Condenser]:
    """Return the kind that a manifest names. Raises Unreadable for an unknown kind, and for another format of it.

    The first manifests, all of adapters, have no `kind`. Manifests without `kind_format` describe format 1.
    """
    name, number = manifest.get("kind", Adapter.kind), manifest.get("kind_format", 1)
    if name not in KINDS:
        raise Unreadable(f"kind {name!r}, this version reads {', '.join(KINDS)}: upgrade headwater")
    kind = KINDS[name]
    if number != kind.format:
        raise Unreadable(f"{kind.kind} of format {number!r}, this version reads {kind.format}: upgrade headwater")
    return kind


def _read(folder: Path) -> StoredAdapter | None:
    """Return the adapter in `folder`, or None if it holds no intact one."""
    try:
        return StoredAdapter.load(folder)
    except WeightsError:
        return None
