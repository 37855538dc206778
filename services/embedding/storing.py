"""Stores the files of a request with their labels and their vectors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from starlette.concurrency import run_in_threadpool

from services.embedding.worker import EncoderWorker
from services.jobs.backfill.local import ensure_features
from services.jobs.uploaded import File, require_labels, store_files
from services.web.labelling import Labelling
from services.web.schemas import AssetsResponse
from services.web.wire import Upload
from store import Store


async def store_uploads(
    store: Store, worker: EncoderWorker, uploads: Sequence[Upload], labelling: Labelling
) -> AssetsResponse:
    """Embed the files, store those that are not refused, and answer when everything is written.

    A file is refused if the encoder cannot embed it, or if it has another split already. Raises BadSplit or BadLabels,
    before anything is embedded or stored, if no file may have these labels.
    """
    await run_in_threadpool(require_labels, store, labelling)
    items = await worker.embed_files(uploads)
    vectors = {item.id: item.vector for item in items if item.vector is not None}

    @contextmanager
    def with_vectors(files: Sequence[File]) -> Iterator[None]:
        features, ids = ensure_features(store, worker.encoder), [file.id for file in files]
        yield
        features.put(ids, np.stack([vectors[id_] for id_ in ids]))

    files = [File(upload, item.error) for upload, item in zip(uploads, items, strict=True)]
    return await run_in_threadpool(store_files, store, files, labelling, with_vectors)
