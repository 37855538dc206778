"""Stores the files of a request with their labels and their vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from starlette.concurrency import run_in_threadpool

from services.embedding.worker import EncoderWorker
from services.jobs.ingest import to_asset
from services.web.schemas import AssetsResponse, StoredItem
from services.web.wire import Upload, Vectored
from store import Label, Store


@dataclass(frozen=True, slots=True)
class Labelling:
    """The labels that every file of one request gets. `task` is None if the request has no labels."""

    task: str | None
    labels: tuple[str, ...]
    split: str | None


async def store_uploads(
    store: Store, worker: EncoderWorker, uploads: Sequence[Upload], labelling: Labelling
) -> AssetsResponse:
    """Embed the files, store those that the encoder could embed, and answer when everything is written.

    Raises BadSplit or BadLabels, before anything is stored.
    """
    items = await worker.embed_files(uploads)
    good = [(upload, item) for upload, item in zip(uploads, items, strict=True) if item.vector is not None]
    new, known = await run_in_threadpool(_write, store, worker.encoder.spec.fingerprint, good, labelling)
    stored = [StoredItem(id=item.id, name=item.name, error=item.error) for item in items]
    return AssetsResponse(new=new, known=known, items=stored)


def _write(
    store: Store, fingerprint: str, good: Sequence[tuple[Upload, Vectored]], labelling: Labelling
) -> tuple[int, int]:
    """Return the number of assets that are new, and that were stored before.

    Labels are written last: no reader sees a label without its asset and its vector.
    """
    if not good:
        return 0, 0
    assets = [to_asset(upload.data, upload.name or "upload", upload.modality) for upload, _ in good]
    ids = [asset.id for asset in assets]
    rows = [Label(id=id_, labels=list(labelling.labels), split=labelling.split, source="http") for id_ in ids]
    if labelling.task is not None:  # a refusal must leave nothing stored
        store.labels.require(labelling.task, rows)
    added = store.assets.add(assets)
    vectors = np.stack([item.vector for _, item in good if item.vector is not None])
    store.features(fingerprint).put(ids, vectors)
    if labelling.task is not None:
        store.labels.put(labelling.task, rows)
    return added.new, added.known
