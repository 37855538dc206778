"""Backfill: give every stored asset that lacks one its vector. Resumable, because what is missing is asked anew."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from embedder import probe
from embedder.encoder import Encoder
from embedder.media import DEFAULT_LIMITS, Limits
from embedder.spec import EncoderSpec, Modality
from services.jobs.backfill.ahead import Bound, map_ahead
from services.jobs.backfill.profile import Profile
from services.jobs.backfill.room import Size, require_room
from services.jobs.backfill.stages import Job
from services.jobs.derived import from_parent
from services.jobs.outcome import Outcome
from store import Features, Store
from store.errors import UnknownFeatures


@dataclass(slots=True)
class Progress(Outcome):
    """Counts of one backfill, as they stand. `done` are in the store; `tokens` is what it is going to take of them."""

    total: int = 0
    done: int = 0
    tokens: Size | None = None
    profile: Profile = field(default_factory=Profile)

    @property
    def items_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


def open_features(store: Store, encoder: Encoder) -> Features:
    """The feature table of `encoder`, made when there is none.

    A new table keeps the fp32 reference vectors of the probe; an encoder that does not agree with them
    (other weights, activation, preprocessing, a bad precision) may not write. Raises ProbeMismatch.
    """
    features = ensure_features(store, encoder)
    probe.check(encoder, features.probe)
    return features


def ensure_features(store: Store, encoder: Encoder) -> Features:
    """The same without the check, for a process that embeds nothing itself."""
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
    batch: int = 32,
    threads: int = 2,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Embed all that is missing of every modality that the encoder takes; tokens, of images alone.

    An item that fails goes to quarantine and the rest goes on.

    What the parent of a derived encoder has is adapted, and not embedded again; it counts as done.

    Reading, decoding, encoding and writing overlap; memory stays flat in the number of assets. Ctrl-C
    and errors leave the store whole: what is written stays, what is not is missing at the next run. Raises NoRoom
    before anything is embedded when the disk is too small for the result.
    """
    features = open_features(store, encoder)
    token_table = store.ensure_tokens(encoder.name, encoder.spec, features.probe) if tokens else None
    job = Job(store, encoder, features, token_table, batch=batch, limits=limits)
    adapted = from_parent(store, encoder, features, token_table)
    missing = missing_assets(store, encoder.spec, tokens=tokens, retry_quarantined=retry_quarantined)
    total = sum(map(len, missing.values())) + adapted
    progress, start = Progress(total=total, done=adapted, profile=job.profile), time.perf_counter()
    job.profile.decoders = threads
    if token_table is not None:
        progress.tokens = Size.of(token_table, len(missing.get("image", ())))
    require_room(store, [size for size in (Size.of(features, total - adapted), progress.tokens) if size])
    on_progress(progress)
    with ExitStack() as stack:
        stack.enter_context(one_blas_thread())
        decoders = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="decode"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="write"))
        chunks = (chunk for modality, ids in missing.items() for chunk in job.chunks(decoders, modality, ids))
        for written, failed in map_ahead(writer, job.write, chunks, Bound(1)):
            progress.done += written
            progress.failures.add(failed)
            progress.seconds = time.perf_counter() - start
            on_progress(progress)
    return progress


def one_blas_thread() -> AbstractContextManager[object]:
    """Decoding has threads of its own, and the last bits of NumPy's products depend on how many BLAS has."""
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def missing_assets(
    store: Store, spec: EncoderSpec, *, tokens: bool, retry_quarantined: bool
) -> dict[Modality, list[str]]:
    """What lacks a vector (or, of images, tokens), by modality: ids in stored order."""
    return {
        modality: store.missing(
            spec.fingerprint,
            tokens=tokens and modality == "image",
            retry_quarantined=retry_quarantined,
            modality=modality,
        )
        for modality in spec.modalities
    }
