"""Stores the files of a request with their labels and their vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from starlette.concurrency import run_in_threadpool

from embedder.encoder import Encoder
from services.embedding.worker import EncoderWorker
from services.jobs.backfill.local import ensure_features
from services.jobs.ingest import to_asset
from services.web.error_answers import problem
from services.web.schemas import AssetsResponse, Problem, StoredItem
from services.web.wire import Upload, Vectored
from store import Added, Asset, Label, Store
from store.errors import FrozenSplit

_ANY = "any"
"""Asset id for a check of labels that holds for every asset. No asset has it: it is no digest."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """The labels that every file of one request gets. `task` is None if the request has no labels."""

    task: str | None
    labels: tuple[str, ...]
    split: str | None

    def row(self, id_: str) -> Label:
        return Label(id=id_, labels=list(self.labels), split=self.split, source="http")


@dataclass(slots=True)
class _File:
    """One file of the request, and what became of it.

    Attributes:
        error: why it is refused; None if it is not.
        known: True if the store has it already.
    """

    upload: Upload
    item: Vectored
    error: Problem | None
    known: bool = False

    @property
    def id(self) -> str:
        return self.upload.id

    def asset(self) -> Asset:
        return to_asset(self.upload.data, self.upload.name or "upload", self.upload.modality)

    def answer(self) -> StoredItem:
        status = "refused" if self.error else "known" if self.known else "stored"
        return StoredItem(id=self.item.id, name=self.item.name, status=status, error=self.error)


async def store_uploads(
    store: Store, worker: EncoderWorker, uploads: Sequence[Upload], labelling: Labelling
) -> AssetsResponse:
    """Embed the files, store those that are not refused, and answer when everything is written.

    A file is refused if the encoder cannot embed it, or if it has another split already. Raises BadSplit or BadLabels,
    before anything is embedded or stored, if no file may have these labels.
    """
    if labelling.task is not None:
        await run_in_threadpool(store.labels.require, labelling.task, [labelling.row(_ANY)])
    items = await worker.embed_files(uploads)
    files = [_File(upload, item, item.error) for upload, item in zip(uploads, items, strict=True)]
    added = await run_in_threadpool(_store, store, worker.encoder, files, labelling)
    return AssetsResponse(new=added.new, known=added.known, items=[file.answer() for file in files])


def _store(store: Store, encoder: Encoder, files: Sequence[_File], labelling: Labelling) -> Added:
    """Store the files that are not refused. All checks come first, so that nothing of a refused file is stored.

    Labels are written last: no reader sees a label without its asset and its vector.
    """
    _label(store.labels.require, files, labelling)
    good = _accepted(files)
    if not good:
        return Added(new=0, known=0)
    ids = [file.id for file in good]
    there = store.assets.exists(ids)
    for file in good:
        file.known = file.id in there
        there.add(file.id)
    features = ensure_features(store, encoder)
    added = store.assets.add(
        to_asset(file.upload.data, file.upload.name or "upload", file.upload.modality) for file in good
    )
    features.put(ids, np.stack([file.item.vector for file in good if file.item.vector is not None]))
    _label(store.labels.put, files, labelling)  # refuses a file whose split another process has set meanwhile
    return added


def _accepted(files: Sequence[_File]) -> list[_File]:
    return [file for file in files if file.error is None]


def _label(act: Callable[[str, list[Label]], object], files: Sequence[_File], labelling: Labelling) -> None:
    """Call `act` with the labels of the accepted files, and refuse those with a frozen split, until `act` passes."""
    while labelling.task is not None and (good := _accepted(files)):
        try:
            act(labelling.task, [labelling.row(file.id) for file in good])
            return
        except FrozenSplit as error:
            moves = {move[0]: FrozenSplit(error.task, [move]) for move in error.moves}
            for file in good:
                if file.id in moves:
                    file.error = problem(moves[file.id])
