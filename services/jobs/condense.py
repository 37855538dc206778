"""The job that learns token reduction (condense): principal components of the patch tokens of some stored images."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import NotTrainable
from classifiers.fit.transform import token_components
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.published.manifest import package_versions
from classifiers.published.membership import ids_file
from embedder import cpus
from embedder.derived.condenser import Condenser, pool
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Encoder, Pace
from embedder.media import DEFAULT_LIMITS, Limits
from services.jobs.backfill.stages import Job
from services.jobs.progress import OnProgress, Step, ignore
from store import Store
from store.rows import strings


@dataclass(frozen=True, slots=True, kw_only=True)
class CondenseRequest:
    """The parameters of the job `condense`.

    Attributes:
        pool: side of the square of neighbouring tokens that are averaged into one; 1 for no pooling.
        components: number of principal components that a token keeps, or the share of the variance that they must
            explain (a fraction in 0…1); None keeps all numbers of a token.
        images: most images that the components are learned from.
        rows_of: name of a task; only images that it labels are learned from. Its labels are not read. None: all images.
        seed: seed of the random choice of these images.
    """

    pool: int = 1
    components: float | None = None
    images: int = 1000
    rows_of: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Condensed:
    """The result: a derived encoder.

    Attributes:
        name, fingerprint: those of the derived encoder.
        path: the condenser's folder.
        before, after: shapes (P, F) of the tokens: P tokens of F numbers.
        learned: number of images that the components were learned from; 0 without components.
        kept: share of the variance of the pooled tokens that the components keep.
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
    request: CondenseRequest,
    adapters: Path,
    *,
    batch: int = 0,
    threads: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress[Step] = ignore,
) -> Condensed:
    """Learn a condenser for an encoder's tokens, and save it. A backfill of the derived encoder then writes the tokens.

    The job embeds the images again, because whole tokens are too large to store. It learns from images whose vectors
    are stored, except images that any task has in val, test or ood.

    Args:
        adapters: folder of adapters; this one becomes ``<adapters>/tokens-<version>``.
        batch: images in one call of the encoder; 0 for 32.
        threads: threads that decode images; None for one on each CPU that this process may use.
        limits: most pixels and bytes of an image.

    Raises:
        UnknownFeatures, UnknownTask: no vectors of this encoder are stored, or the task has no labels.
        NotTrainable: the encoder gives no tokens, the tokens cannot be pooled, or no image can be read.
    """
    spec, arrays = encoder.spec, {"pool": np.array([request.pool], np.float32)}
    if spec.tokens is None:
        raise NotTrainable(
            f"encoder {encoder.name} gives no tokens, so there is nothing to reduce; choose an encoder with tokens"
        )
    try:
        Condenser(arrays).shape(spec.tokens)
    except ValueError as error:  # raised before any image is decoded
        raise NotTrainable(f"{encoder.name}: {error}") from error
    seen: list[str] = []
    kept = 1.0
    record: dict[str, Any] = {"wanted": asdict(request), "packages": package_versions(("headwater", "numpy"))}
    if request.components is not None:
        rows = Unlabelled(store, store.features(spec.fingerprint), store.snapshot(), request.rows_of)
        ids = _sample(store, rows.ids, request)
        statistics = GaussianStatistics.empty(1, spec.tokens[1])
        job = Job(store, encoder, rows.features, None, batch=batch, limits=limits)
        for these, tokens in _tokens(job, ids, threads or cpus.usable()):
            flat = pool(tokens, request.pool).reshape(-1, spec.tokens[1])
            statistics.update(flat, np.zeros(len(flat), np.int64))
            seen += these
            on_progress(Step(len(seen), len(ids), "images learned from"))
        kept, components = token_components(statistics, request.components)
        arrays |= components
        record |= {"images": len(seen), "kept": kept, "snapshot": json.loads(rows.snapshot.to_json())}
    condenser = Condenser(arrays)
    stored = StoredAdapter(encoder.name, spec.fingerprint, condenser, record)
    path, after = stored.save(adapters, ids_file(seen)), condenser.shape(spec.tokens)
    return Condensed(stored.name, stored.spec(spec).fingerprint, path, spec.tokens, after, len(seen), kept)


def _sample(store: Store, ids: Sequence[str], request: CondenseRequest) -> list[str]:
    """Draw images from `ids` at random, sorted."""
    images = set(strings(store.assets.ids("image")))
    found = [id_ for id_ in ids if id_ in images]
    drawn = np.random.default_rng(request.seed).permutation(len(found))[: request.images]
    return [found[i] for i in np.sort(drawn).tolist()]


def _tokens(job: Job, ids: Sequence[str], threads: int) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Yield ids and tokens (n, P, F), a batch at a time.

    Unreadable images are skipped; a backfill puts them in quarantine.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as decoders:
        assets = job.prepared(decoders, "image", ids)
        images = ((asset.id, asset.prepared) for asset in assets if asset.prepared is not None)
        while batch := list(islice(images, job.batch or Pace().rows)):
            tokens = job.encoder.embed(np.stack([prepared for _, prepared in batch]), tokens=True).tokens
            assert tokens is not None  # noqa: S101  # asked for
            yield [id_ for id_, _ in batch], tokens.astype(np.float32)
