"""The files of folders that a head predicts. Stored vectors are used where there are some; other files are embedded."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.errors import WrongFingerprint
from classifiers.published.head import PublishedHead
from classifiers.published.inputs import Input
from embedder import probe, registry
from embedder.encoder import Encoder, require_modality
from embedder.errors import BadMedia
from embedder.media import Limits, Media, decode, inspect
from embedder.spec import Modality
from services.jobs.network import require_network
from services.jobs.predict.parts import Part, groups
from store import Item, Quarantined, Store, asset_id
from store.errors import BadFile, UnknownFeatures
from store.rows import Column, encodable
from store.sources import Sources

FILES = 32
"""Files that are read and embedded at a time."""

PART_ROWS = 1024
"""Files of a part of the journal. They take much longer than as many stored vectors."""

STAGE = "predict"
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class _File:
    item: Item
    id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class FileOpener:
    """Reads and embeds files in another process, which must reach them, and the store, under the same paths.

    Attributes:
        stored: True if the store has tables, so that the other process must find some too.
        loading, limits: see `FileRows`.
    """

    store: str
    stored: bool
    max_file_bytes: int
    loading: Mapping[str, Any]
    limits: Limits

    def open(self, head: PublishedHead, threads: int) -> "FileRows":
        """Return rows that are read by share. Raises NoStore."""
        store = Store.open(self.store, must_exist=self.stored, max_file_bytes=self.max_file_bytes)
        return FileRows(Sources(()), head, store, {**self.loading, "threads": threads}, self.limits)


class FileRows:
    """The files of some sources. Their labels are the truth, unless they are captions.

    Args:
        sources: folders and files, or a published data set.
        store: the store whose vectors are used; it may be empty.
        loading: arguments of `embedder.registry.load`.
        limits: limits on the files that are decoded.
    """

    def __init__(
        self, sources: Sources, head: PublishedHead, store: Store, loading: Mapping[str, Any], limits: Limits
    ) -> None:
        self._sources, self._head, self._store = sources, head, store
        self._loading, self._limits = loading, limits
        stored, most = bool(store.database.names()), store.assets.max_file_bytes
        self.opener = FileOpener(store.uri, stored, most, loading, limits)
        self._names = {each: block.name for each, block in zip(head.inputs, head.manifest.encoders, strict=True)}
        self._encoder = cache(self._load)

    @property
    def identity(self) -> str:
        """Digest of the names, sizes and times of the files: a stopped run goes on only with the same files."""
        total = hashlib.sha256()
        for item in self._items():
            try:
                found = Path(item.uri).stat()
                total.update(f"{encodable(item.uri)} {found.st_size} {found.st_mtime_ns}\n".encode())
            except OSError:
                total.update(f"{encodable(item.uri)}\n".encode())
        return total.hexdigest()

    @property
    def part_rows(self) -> int:
        return PART_ROWS

    @property
    def rows(self) -> int:
        return sum(1 for _ in self._items())

    def _items(self) -> Iterator[Item]:
        return (replace(item, labels=None) if self._sources.captions else item for item in self._sources)

    def named(self, part: Part) -> tuple[Column, Column]:
        return part.paths, part.truths

    def parts(self, start: int) -> Iterator[Part]:
        """Yield the files from number `start` on."""
        for share in self.shares(start):
            yield from self.read(share)

    def shares(self, start: int) -> Iterator[list[Item]]:
        """Yield the files from number `start` on, not read yet."""
        items = islice(self._items(), start, None)
        while some := list(islice(items, FILES)):
            yield some

    def read(self, share: Sequence[Item]) -> Iterator[Part]:
        """Yield the files of a share as one part."""
        failed: list[Quarantined] = []
        files = [file for item in share if (file := self._read(item, failed)) is not None]
        yield self._part(files, len(share), failed)

    def _read(self, item: Item, failed: list[Quarantined]) -> _File | None:
        try:
            data = item.read(self._store.assets.max_file_bytes)
        except OSError as error:
            failed.append(_failed(item, error.reason if isinstance(error, BadFile) else UNREADABLE, str(error)))
            return None
        return _File(item, asset_id(data), data)

    def _part(self, files: Sequence[_File], source_rows: int, failed: list[Quarantined]) -> Part:
        """Return the files as a part. Those that cannot be embedded are added to `failed`."""
        inputs = self._head.inputs
        have = np.zeros((len(files), len(inputs)), np.bool_)
        blocks = []
        for column, each in enumerate(inputs):
            rows, X = self._vectors(each, files, failed)
            block = np.zeros((len(files), X.shape[1]), np.float32)
            block[rows], have[rows, column] = X, True
            blocks.append(block)
        return Part(
            source_rows,
            pa.array([file.id for file in files], pa.string()),
            list(groups(self._head, inputs, have, blocks)),
            pa.array([encodable(file.item.uri) for file in files], pa.string()),
            pa.array([file.item.labels for file in files], pa.list_(pa.string())),
            failed,
        )

    def _vectors(
        self, each: Input, files: Sequence[_File], failed: list[Quarantined]
    ) -> tuple[list[int], NDArray[np.float32]]:
        """Return the vectors of one input, and the numbers of the files that have them."""
        stored = self._stored(each, [file.id for file in files])
        rows, parts = [], []
        for row, file in enumerate(files):
            if file.id in stored:
                rows.append(row)
                parts.append(stored[file.id])
        left = [row for row, file in enumerate(files) if file.id not in stored]
        if left:
            more, X = self._embedded(each, files, left, failed)
            rows += more
            parts += list(X)
        block = next(block for block in self._head.manifest.encoders if block.fingerprint == each.fingerprint)
        width = block.columns[1] - block.columns[0]
        return rows, np.stack(parts).astype(np.float32) if parts else np.empty((0, width), np.float32)

    def _stored(self, each: Input, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        try:
            table = self._store.tokens(each.fingerprint) if each.tokens else self._store.features(each.fingerprint)
        except UnknownFeatures:
            return {}
        found, X = table.get(list(dict.fromkeys(ids)))
        return dict(zip(found, X.reshape(len(found), math.prod(table.shape)), strict=True))

    def _embedded(
        self, each: Input, files: Sequence[_File], left: Sequence[int], failed: list[Quarantined]
    ) -> tuple[list[int], NDArray[np.float32]]:
        encoder = self._encoder(each.fingerprint)
        by_modality: dict[Modality, list[tuple[int, NDArray[np.float32]]]] = {}
        for row in left:
            try:
                info = inspect(files[row].data, files[row].item.modality)
                modality = require_modality(encoder.name, encoder.spec, info.modality)
                media: Media = decode(files[row].data, modality, self._limits)
                by_modality.setdefault(modality, []).append((row, encoder.prepare(media)))
            except BadMedia as error:
                failed.append(_failed(files[row].item, error.reason, str(error)))
        rows: list[int] = []
        vectors = []
        for modality, prepared in by_modality.items():
            inputs = np.stack([each for _, each in prepared])
            made = encoder.embed(inputs, modality=modality, tokens=each.tokens)
            vectors.append(made.vectors if made.tokens is None else made.tokens.reshape(len(inputs), -1))
            rows += [row for row, _ in prepared]
        return rows, np.concatenate(vectors).astype(np.float32) if vectors else np.empty((0, 0), np.float32)

    def _load(self, fingerprint: str) -> Encoder:
        """Return the encoder. Raises WrongFingerprint, NoNetwork, and the errors of `registry.load`."""
        name = self._names[next(each for each in self._names if each.fingerprint == fingerprint)]
        require_network(self._store, fingerprint)
        require_network(self._store, name)
        encoder = registry.load(name, **self._loading)
        if encoder.spec.fingerprint != fingerprint:
            raise WrongFingerprint(self._head.name, (f"{name} ({fingerprint})",), (encoder.spec.fingerprint,))
        try:
            probe.check(encoder, self._store.features(fingerprint).probe)
        except UnknownFeatures:
            probe.check(encoder, encoder.reference_probe())
        return encoder


def _failed(item: Item, reason: str, message: str) -> Quarantined:
    return Quarantined(key=encodable(item.uri), stage=STAGE, reason=reason, message=encodable(message))
