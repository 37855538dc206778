"""Backfill in this process. A stopped one resumes, because every run asks the store anew what is missing."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from embedder import cpus, probe
from embedder.encoder import Encoder
from embedder.media import DEFAULT_LIMITS, Limits
from embedder.spec import EncoderSpec, Modality
from services.jobs.backfill.disk_space import Size, require_room
from services.jobs.backfill.prefetch import Bound, map_ahead
from services.jobs.backfill.stages import Job
from services.jobs.backfill.timing import Profile
from services.jobs.derived import from_parent
from services.jobs.progress import OnProgress, Outcome, ignore
from store import Features, Store
from store.errors import UnknownFeatures


@dataclass(slots=True)
class Progress(Outcome):
    """Counts of one backfill so far.

    Attributes:
        total: assets without a vector when it began.
        done: assets whose vectors are stored.
        tokens: size of the tokens that it will write; None if it writes none.
        profile: time of each stage.
    """

    total: int = 0
    done: int = 0
    tokens: Size | None = None
    profile: Profile = field(default_factory=Profile)

    @property
    def handled(self) -> int:
        return self.done + self.quarantined

    @property
    def note(self) -> str:
        return f"{self.items_per_second:.0f}/s"

    @property
    def items_per_second(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


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
    batch: int = 32,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress[Progress] = ignore,
) -> Progress:
    """Embed every stored asset of the encoder's modalities that has no vector of it yet.

    An item that fails goes to quarantine, and the rest goes on. A derived encoder computes its rows from those that
    its parent has, without embedding again; these rows count as done.

    Reading, decoding, encoding and writing overlap. Memory does not grow with the number of assets. Ctrl-C and
    errors leave the store whole: written rows stay, the others are missing at the next run.

    Args:
        tokens: store the patch tokens of images too.
        retry_quarantined: also try the assets that failed before.
        batch: items in one pass of the encoder.
        threads: threads that decode; None for one on each CPU that this process may use.
        limits: limits of what is decoded.

    Raises:
        ProbeMismatch: the encoder does not reproduce the stored probe.
        NoRoom: the disk is too full for the result. Nothing was embedded.
    """
    features = open_features(store, encoder)
    token_table = store.ensure_tokens(encoder.name, encoder.spec, features.probe) if tokens else None
    job = Job(store, encoder, features, token_table, batch=batch, limits=limits)
    adapted = from_parent(store, encoder, features, token_table)
    missing = missing_assets(store, encoder.spec, tokens=tokens, retry_quarantined=retry_quarantined)
    total = sum(map(len, missing.values())) + adapted
    progress, start = Progress(total=total, done=adapted, profile=job.profile), time.perf_counter()
    job.profile.decoders = threads = threads or cpus.usable()
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
    """Limit BLAS to one thread: decoding has its own, and the last bits of a product depend on BLAS's number."""
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits


def missing_assets(
    store: Store, spec: EncoderSpec, *, tokens: bool, retry_quarantined: bool
) -> dict[Modality, list[str]]:
    """Return the ids of assets without a vector (with `tokens`: without tokens), by modality, in stored order."""
    return {
        modality: store.missing(
            spec.fingerprint,
            tokens=tokens and modality == "image",
            retry_quarantined=retry_quarantined,
            modality=modality,
        )
        for modality in spec.modalities
    }
