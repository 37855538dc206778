"""Condensers: principal components of the patch tokens of some stored images, saved for a backfill to use."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import NotTrainable
from classifiers.fit.transform import principal_components
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.published.manifest import package_versions
from embedder.derived.condenser import Condenser, pool
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Encoder
from embedder.media import DEFAULT_LIMITS, Limits
from services.jobs.backfill.stages import Job
from store import Store
from store.rows import strings

BATCH = 32
"""Images embedded at once."""

OnProgress = Callable[[int, int, str], None]
"""(done, total, what is being done)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How tokens are to be condensed.

    Attributes:
        pool: to the mean of so many × so many neighbours.
        components: onto how many principal components, or which share of the variance they must explain (a fraction
            in 0…1); None: all numbers of a token stay.
        images: how many the components are learned from, at most.
        rows_of: a task; only images that it labels are learned from. Its labels are not read.
        seed: of their choice.
    """

    pool: int = 1
    components: float | None = None
    images: int = 1000
    rows_of: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Condensed:
    """A derived encoder.

    Attributes:
        path: the condenser's folder.
        before, after: (P, F) of the tokens.
        learned: images that the components were learned from; 0 when there was nothing to learn.
        kept: share of the variance of the tokens (once they are pooled) that is left.
    """

    name: str
    fingerprint: str
    path: Path
    before: tuple[int, int]
    after: tuple[int, int]
    learned: int = 0
    kept: float = 1.0


def condense(
    store: Store,
    encoder: Encoder,
    wanted: Wanted,
    adapters: Path,
    *,
    threads: int = 2,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress = lambda *_: None,
) -> Condensed:
    """Learns how to condense an encoder's tokens, and saves that. A backfill of the derived encoder then writes them.

    The images are embedded here: tokens need not be stored before, which is what this is to avoid. Learned from are
    images whose vectors are stored, but for those that some task holds in val, test or ood.

    Args:
        adapters: folder of adapters; this one becomes ``<adapters>/tokens-<version>``.

    Raises UnknownFeatures, UnknownTask, and NotTrainable, also for tokens that are not there or cannot be pooled.
    """
    spec, arrays = encoder.spec, {"pool": np.array([wanted.pool], np.float32)}
    if spec.tokens is None:
        raise NotTrainable(f"{encoder.name} gives no tokens that could be condensed; its vectors stay as they are")
    try:
        Condenser(arrays).shape(spec.tokens)
    except ValueError as error:  # before the work
        raise NotTrainable(f"{encoder.name}: {error}") from error
    learned, kept = 0, 1.0
    record: dict[str, Any] = {"wanted": asdict(wanted), "packages": package_versions(("headwater", "numpy"))}
    if wanted.components is not None:
        rows = Unlabelled(store, store.features(spec.fingerprint), store.snapshot(), wanted.rows_of)
        ids = _sample(store, rows.ids, wanted)
        statistics = GaussianStatistics.empty(1, spec.tokens[1])
        job = Job(store, encoder, rows.features, None, batch=BATCH, limits=limits)
        for tokens in _tokens(job, ids, threads):
            flat = pool(tokens, wanted.pool).reshape(-1, spec.tokens[1])
            statistics.update(flat, np.zeros(len(flat), np.int64))
            learned += len(tokens)
            on_progress(learned, len(ids), "images learned from")
        kept, components = _components(statistics, wanted.components)
        arrays |= components
        record |= {"images": learned, "kept": kept, "snapshot": json.loads(rows.snapshot.to_json())}
    condenser = Condenser(arrays)
    stored = StoredAdapter(encoder.name, spec.fingerprint, condenser, record)
    path, after = stored.save(adapters), condenser.shape(spec.tokens)
    return Condensed(stored.name, stored.spec(spec).fingerprint, path, spec.tokens, after, learned, kept)


def _sample(store: Store, ids: Sequence[str], wanted: Wanted) -> list[str]:
    """Of the images among `ids`, drawn at random, sorted."""
    images = set(strings(store.assets.ids("image")))
    found = [id_ for id_ in ids if id_ in images]
    drawn = np.random.default_rng(wanted.seed).permutation(len(found))[: wanted.images]
    return [found[i] for i in np.sort(drawn).tolist()]


def _tokens(job: Job, ids: Sequence[str], threads: int) -> Iterator[NDArray[np.float32]]:
    """Tokens (n, P, F) of the images that can be read, a batch at a time: a backfill tells of the others."""
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as decoders:
        images = (item.prepared for item in job.items(decoders, "image", ids) if item.prepared is not None)
        while batch := list(islice(images, job.batch)):
            tokens = job.encoder.embed(np.stack(batch), tokens=True).tokens
            assert tokens is not None  # noqa: S101  # asked for
            yield tokens.astype(np.float32)


def _components(statistics: GaussianStatistics, wanted: float) -> tuple[float, Mapping[str, NDArray[np.float32]]]:
    """The share of the variance that is kept, and the arrays that a condenser needs for it."""
    if statistics.rows < 2:
        raise NotTrainable("no image whose vector is stored can be read; ingest and backfill some first")
    covariance = statistics.total_covariance()
    axes = principal_components(covariance, wanted, whiten=False)
    kept = float(np.einsum("fc,fg,gc->", axes, covariance, axes, optimize=True) / np.trace(covariance))
    return kept, {"mean": statistics.centre().astype(np.float32), "components": axes.T.astype(np.float32)}
