"""Backfill in this process. A stopped one resumes, because every run asks the store anew what is missing."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

from threadpoolctl import threadpool_limits

from embedder import cpus, probe
from embedder.encoder import Encoder
from embedder.media import DEFAULT_LIMITS, Limits
from services.jobs.backfill.plan import Progress, plan
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.backfill.stages import Job
from services.jobs.progress import OnProgress, ignore
from store import Features, Store
from store.errors import UnknownFeatures


def open_features(store: Store, encoder: Encoder) -> Features:
    """Return the feature table of `encoder`, made if there is none, after a check of its probe.

    A new table stores the encoder's fp32 reference vectors of the probe batch. An encoder that does not reproduce
    them may not write: its weights, activation, preprocessing or precision differ.

    Raises:
        ProbeMismatch: the encoder does not reproduce the stored probe.
    """
    features = ensure_features(store, encoder)
    probe.check(encoder, features.probe)
    return features


def ensure_features(store: Store, encoder: Encoder) -> Features:
    """Return the feature table of `encoder`, made if there is none, without a check: the caller embeds nothing."""
    try:
        return store.features(encoder.spec.fingerprint)
    except UnknownFeatures:
        return store.ensure_features(encoder.name, encoder.spec, encoder.reference_probe())


def backfill(
    store: Store,
    encoder: Encoder,
    *,
    tokens: bool = False,
    retry_quarantined: bool = False,
    batch: int = 0,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress[Progress] = ignore,
) -> Progress:
    """Embed every stored asset of the encoder's modalities that has no vector of it yet.

    An item that fails goes to quarantine, and the rest goes on. A derived encoder computes its rows from those that
    its parent has, without embedding again; these rows count as done.

    Reading, decoding, encoding and writing overlap. Of all assets, only the ids are in memory. Ctrl-C and errors leave
    the store whole: written rows stay, the others are missing at the next run.

    Args:
        tokens: store the patch tokens of images too.
        retry_quarantined: also try the assets that failed before.
        batch: assets in one call of the encoder; 0 for as many as keep it busy.
        threads: threads that decode; None for one on each CPU that this process may use.
        limits: limits of what is decoded.

    Raises:
        ProbeMismatch: the encoder does not reproduce the stored probe.
        NoRoom: the disk is too full for the result. No row was written.
    """
    features = open_features(store, encoder)
    work = plan(store, encoder, features, on_progress, tokens=tokens, retry_quarantined=retry_quarantined)
    job, progress = Job(store, encoder, features, work.tokens, batch=batch, limits=limits), work.progress
    progress.profile = job.profile
    job.profile.decoders = threads = threads or cpus.usable()
    start = time.perf_counter()
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        decoders = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="decode"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="write"))
        chunks = (chunk for modality, ids in work.missing.items() for chunk in job.chunks(decoders, modality, ids))
        for written, failed in map_ahead(writer, job.write, chunks, Bound(1)):
            progress.done += written
            progress.failures.add(failed)
            progress.seconds = time.perf_counter() - start
            on_progress(progress)
    store.optimize()
    return progress


def one_blas_thread() -> AbstractContextManager[object]:
    """Limit BLAS to one thread.

    Decoding has threads of its own, and the last bits of a product depend on the number of BLAS's threads.
    """
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits
