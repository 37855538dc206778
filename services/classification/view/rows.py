"""GET /v1/rows: all stored assets as columns of numbers, streamed."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from classifiers.published.head import PublishedHead
from services.classification.search import chosen
from services.classification.view.axes import AxesKind, Placing, Points, place, require_axes
from services.classification.view.columns import (
    AssetColumns,
    LabelColumns,
    VectorColumn,
    read_assets,
    read_labels,
    read_vectors,
)
from services.classification.view.columns_cache import SharedResults
from services.classification.view.columns_of_head import HeadColumns, answer_assets
from services.classification.view.tables import Key, Tables
from services.web.admission import Reservation
from services.web.columns import COLUMNS, AxesInfo, PackedRows, RowsInfo
from services.web.errors import AxesNotReady, BadRequest, NotOffered
from services.web.known_names import suggestion
from services.web.quoting import shortened
from store import Features, Store
from store.errors import UnknownFeatures

PATIENCE = 20.0
"""Longest time in seconds that a request waits for UMAP. The computation goes on, and a later request gets it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request.

    Attributes:
        encoder: name or fingerprint; None for the encoder of the head with the most vectors, or, if there are only
            axes, for the one with the most vectors of all.
        axes: None for "pca" where there is an encoder.
        columns: None for all that the other parameters allow. Those with several values a row are then left out if no
            row has several labels.
    """

    task: str | None = None
    encoder: str | None = None
    head: PublishedHead | None = None
    axes: AxesKind | None = None
    columns: Collection[str] | None = None

    @property
    def allowed(self) -> tuple[str, ...]:
        """The columns that the other parameters allow."""
        given = {None: True, "task": self.task, "encoder": self.encoder or self.head or self.axes, "head": self.head}
        return tuple(name for name, column in COLUMNS.items() if given[column.needs])

    def require_columns(self) -> None:
        """Raise BadRequest for a column that does not exist, NotOffered for one whose parameter is missing."""
        for name in self.columns or ():
            if name not in COLUMNS:
                raise BadRequest(f"unknown column {shortened(name)!r}; {suggestion(name, COLUMNS)}")
            if name not in self.allowed:
                needed = COLUMNS[name].needs
                raise NotOffered(f"column {name!r} needs a value of {needed}=; add it, or leave the column out")

    def wants(self, *names: str) -> bool:
        """True if one of these columns is asked for."""
        return any(name in self.allowed and (self.columns is None or name in self.columns) for name in names)

    @property
    def row_bytes(self) -> int:
        """Bytes of each row of the answer."""
        return sum(column.width for name, column in COLUMNS.items() if self.wants(name))


@dataclass(frozen=True, slots=True)
class _Found:
    """The parts of an answer. A part is None if it is not asked for, or if it does not exist."""

    assets: AssetColumns
    labels: LabelColumns | None = None
    vectors: VectorColumn | None = None
    points: Points | None = None
    answers: HeadColumns | None = None


async def pack_rows(shared: SharedResults, store: Store | None, asked: Asked, reserved: Reservation) -> PackedRows:
    """Return the rows of a store; none if there is no store, or none yet.

    Args:
        reserved: receives the memory of the answer.

    Raises BadRequest, NotOffered, UnknownTask, UnknownFeatures, AmbiguousFeatures, AxesNotReady, TooBusy.
    """
    asked.require_columns()
    tables = await run_in_threadpool(Tables.of, store) if store else None
    if not tables:
        return _packed(asked, _Found(AssetColumns.none()), None)
    features = await run_in_threadpool(_features, tables.store, asked)
    reading = _Reading(shared, tables, asked, features)
    assets = await reading.assets()
    reserved.add(asked.row_bytes * len(assets))
    packed = _packed(asked, await reading.all(assets), features)
    reserved.count(max(0, packed.nbytes - asked.row_bytes * len(assets)))
    return packed


def _features(store: Store, asked: Asked) -> Features | None:
    """Return the vectors for the columns of an encoder; None if none is asked for, or if the head's has no vectors."""
    if asked.encoder is not None:
        return store.features(asked.encoder)
    if asked.head is None:
        return None if asked.axes is None else chosen(store, None, "id")
    found = []
    for fingerprint in asked.head.fingerprints:
        try:
            found.append(store.features(fingerprint))
        except UnknownFeatures:
            continue
    return max(found, key=lambda each: each.rows, default=None)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads the parts of an answer, those at once that do not need each other."""

    shared: SharedResults
    tables: Tables
    asked: Asked
    features: Features | None

    async def assets(self) -> AssetColumns:
        """Return the assets, which every other part needs."""
        key = ("assets", *self.tables.key("assets"))
        return await self.shared.get(key, read_assets, self.tables.store, self.tables.snapshot)

    async def all(self, assets: AssetColumns) -> _Found:
        """Return all parts."""
        labels = asyncio.ensure_future(self._labels(assets))
        found = await asyncio.gather(labels, self._vectors(assets), self._points(assets, labels), self._answers(assets))
        return _Found(assets, *found)

    @property
    def _labels_key(self) -> Key:
        return (self.asked.task, *self.tables.key("assets", "labels"))

    async def _labels(self, assets: AssetColumns) -> LabelColumns | None:
        lda = self.asked.axes == "lda" and self.asked.wants("x", "y")
        if self.asked.task is None or not (lda or self.asked.wants("label", "labels_end", "labels_flat", "split")):
            return None
        key, store, snapshot = ("labels", *self._labels_key), self.tables.store, self.tables.snapshot
        return await self.shared.get(key, read_labels, store, snapshot, self.asked.task, assets)

    async def _vectors(self, assets: AssetColumns) -> VectorColumn | None:
        if self.features is None or not self.asked.wants("vector"):
            return None
        key = ("vectors", *self.tables.key("assets", self.features.table.name))
        return await self.shared.get(key, read_vectors, self.features, self.tables.snapshot, assets)

    async def _points(self, assets: AssetColumns, labels: "asyncio.Future[LabelColumns | None]") -> Points | None:
        if self.features is None or not self.asked.wants("x", "y"):
            return None
        kind = self.asked.axes or "pca"
        placing = Placing(self.features, self.tables.snapshot, assets)
        require_axes(kind, self.asked.task, await run_in_threadpool(lambda: placing.rows))
        key: Key = ("points", kind, *self.tables.key("assets", self.features.table.name))
        key += self._labels_key if kind == "lda" else ()
        made = self.shared.get(key, place, placing, kind, await labels, slow=kind == "umap")
        try:
            return await (asyncio.wait_for(made, PATIENCE) if kind == "umap" else made)
        except TimeoutError:
            raise AxesNotReady(kind, PATIENCE) from None

    async def _answers(self, assets: AssetColumns) -> HeadColumns | None:
        head = self.asked.head
        if head is None or not self.asked.wants(*(name for name, column in COLUMNS.items() if column.needs == "head")):
            return None
        names = sorted(name for name in self.tables.snapshot.versions if name.endswith(_ends(head)))
        key = ("head", head.name, head.version, *self.tables.key("assets", *names))
        return await self.shared.get(key, answer_assets, self.tables.store, self.tables.snapshot, head, assets)


def _ends(head: PublishedHead) -> tuple[str, ...]:
    """Return the ends of the names of the tables that a head may read, see `store.tables.identity`."""
    return tuple(f"_{fingerprint[:12]}" for fingerprint in head.fingerprints)


def _packed(asked: Asked, found: _Found, features: Features | None) -> PackedRows:
    """Return the answer, with empty columns in place of parts that do not exist."""
    n, head = len(found.assets), asked.head
    labels = found.labels or LabelColumns.none(n)
    names = list(dict.fromkeys([*labels.names, *(head.head.classes if head else ())]))
    columns: dict[str, NDArray[Any]] = {"id": found.assets.ids, "modality": found.assets.modality}
    columns |= {"label": labels.label, "split": labels.split}
    if labels.many or asked.columns is not None:
        columns |= {"labels_end": labels.ends, "labels_flat": labels.flat}
    columns["vector"] = found.vectors.has if found.vectors else np.zeros(n, np.uint8)
    nowhere = np.full(n, np.nan, np.float32)
    columns |= {"x": found.points.x, "y": found.points.y} if found.points else {"x": nowhere, "y": nowhere}
    if head is not None:
        codes = {name: code for code, name in enumerate(names)}
        answers = found.answers or HeadColumns.none(n, head)
        columns |= answers.named(np.array([codes[name] for name in head.head.classes], np.int32))
    info = RowsInfo(
        rows=n,
        version=found.assets.digest,
        labels=names,
        modalities=list(found.assets.modalities),
        head=None if head is None else f"{head.name}@{head.version}",
        encoder=features.name if features else head.manifest.encoders[0].name if head else None,
        axes=AxesInfo(kind=asked.axes or "pca", explained=found.points.explained) if found.points else None,
    )
    return PackedRows(info, {name: columns[name] for name in COLUMNS if name in columns and asked.wants(name)})
