"""The job that trains an encoder's network on stored images, and keeps the result as an encoder of its own."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from classifiers.clustering.clusters import Clustering
from classifiers.errors import NotTrainable
from classifiers.fit.descent import require_finite
from classifiers.fit.discrimination.ranks import Ranks
from classifiers.fit.discrimination.sampled import Form, SampledCentres
from embedder import cpus, folders
from embedder.encoder import Encoder
from embedder.media import DEFAULT_LIMITS, Limits
from embedder.trainable import HasTrainable, Trainable
from embedder.weights.checkpoint import digest
from services.jobs.backfill.disk_space import readable
from services.jobs.errors import TrainingFailed
from services.jobs.progress import OnProgress, Step, ignore
from services.jobs.tune import checkpoint
from services.jobs.tune.checkpoint import Position, TunedEpoch
from services.jobs.tune.embedding import Embedding
from services.jobs.tune.images import Images, Order
from services.jobs.tune.judge import Judge
from services.jobs.tune.pixels import Reader
from services.jobs.tune.plan import Plan, TuneRequest, make_plan
from services.jobs.tune.recipe import TowerRecipe
from services.jobs.tune.report import write_report
from services.jobs.tune.trainer import Trainer
from store import Store

TOWERS = "towers"
"""Folder of trained networks, inside the folder of adapters."""
_RUN, _PLAN, _LOCK = ".run-", "plan", ".lock"


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result: a network in a folder, which is an encoder.

    Attributes:
        name: name of the encoder.
        path: its folder, which has a report too.
        images: number of images that it was trained on.
        clusters: number of centres.
        processes: number of processes that trained it.
        resumed: the step from which this run went on; 0 for a run from the beginning.
        position: the curve, the accuracy before, and the images that could not be read.
        split: split of the images that judged; None without a judge.
        notes: sentences for the user.
    """

    name: str
    path: Path
    images: int
    clusters: int
    processes: int
    resumed: int
    position: Position
    split: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """One training: its folder, what it learns from, and who judges it."""

    folder: Path
    plan: Plan
    trainer: Trainer
    images: Images
    judge: Judge | None


def tune(
    store: Store,
    encoder: Encoder,
    request: TuneRequest,
    adapters: Path,
    clusterings: Path,
    *,
    ranks: Ranks | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress[Step] = ignore,
) -> Tuned:
    """Train the network of an encoder by cluster discrimination, and write it as a new encoder.

    The positives of an image are the centres nearest to its stored vector. If the job is killed, run it again with the
    same request: it goes on from its last checkpoint, and ends with the same network on the same machine.

    Args:
        adapters: folder of adapters; the network's folder becomes ``<adapters>/towers/<network>-mlcd-<version>``.
        clusterings: folder of saved clusterings.
        ranks: the processes that train together; None for this one alone.

    Raises:
        UnknownFeatures, UnknownTask, UnknownClustering, BadClustering: something that the request names is not there.
        NotTrainable: the network cannot be trained, or there are too few images or clusters.
        TrainingFailed: the disk is full, or another process works on the same training.
    """
    ranks = ranks or Ranks()
    tower, reader = _trainable(encoder), Reader(limits, max(1, cpus.usable() // ranks.world))
    judge = Judge.of(store, request.judge, tower.image, reader, request.recipe.seed) if request.judge else None
    with _own_folder(adapters / TOWERS / f"{_RUN}{_key(encoder, request, clusterings)}", ranks) as folder:
        if ranks.first and not (folder / _PLAN).is_dir():
            plan = make_plan(store, request, clusterings, on_progress)
            with checkpoint.on_disk("the plan of the training", "no step was taken"):
                plan.save(folder / _PLAN)
        ranks.wait()
        plan = Plan.load(folder / _PLAN, ranks)
        trainer = _trainer(tower, plan, request.recipe, ranks)
        images = Images(store, plan.ids, tower.image, request.recipe, reader)
        run = _Run(folder, plan, trainer, images, judge)
        position = checkpoint.restore(folder, run.trainer)
        resumed = position.step
        _require_room(run)
        _train(run, position, on_progress)
        path = _publish(run, tower, encoder, request, position, adapters / TOWERS) if ranks.first else None
        path = ranks.told(path)
        assert path is not None  # noqa: S101  # the first process gives it
    return Tuned(
        name=tower.name(path),
        path=path,
        images=len(run.plan.ids),
        clusters=run.plan.clusters,
        processes=ranks.world,
        resumed=resumed,
        position=position,
        split=run.judge.split if run.judge else None,
        notes=(*run.plan.record["clustering"]["notes"], *_remarks(position)),
    )


def _trainable(encoder: Encoder) -> Trainable:
    found = encoder.trainable() if isinstance(encoder, HasTrainable) else None
    if found is None:
        raise NotTrainable(
            f"the network of {encoder.name} cannot be trained: choose a lite, timm or openclip encoder of images, or "
            "the parent of a derived encoder"
        )
    return found


def _key(encoder: Encoder, request: TuneRequest, clusterings: Path) -> str:
    """Return the identity of a training: the same request on the same vectors goes on with it."""
    saved = request.clustering and Clustering.load(clusterings, request.clustering).digest
    facts = {**asdict(request), "encoder": encoder.spec.fingerprint, "saved": saved}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def _own_folder(folder: Path, ranks: Ranks) -> Iterator[Path]:
    """Yield the folder of a training, made if there is none, held against other trainings, and removed at the end."""
    if not ranks.first:
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    held = folders.try_lock(folder / folders.IN_USE)
    if held is None:
        raise TrainingFailed("another process works on this training; wait for it, or stop it")
    with held:
        try:
            yield folder
        except BaseException:
            if not (folder / _PLAN).is_dir():  # nothing was begun that could go on
                shutil.rmtree(folder, ignore_errors=True)
            raise
        folders.discard(folder)  # no training could go on from a part of it


def _trainer(tower: Trainable, plan: Plan, recipe: TowerRecipe, ranks: Ranks) -> Trainer:
    """Return the trainer before its first step. Raises NotTrainable for fewer images than processes."""
    device = ranks.device
    axes = None if plan.axes is None else torch.from_numpy(plan.axes)
    embedding = Embedding(tower.module, tower.image, torch.from_numpy(plan.mean), axes).to(device).train()
    form = Form(loss="mlcd" if recipe.loss == "mlcd" else "mlc", scale=recipe.scale, margin=recipe.margin)
    centres = SampledCentres(torch.from_numpy(plan.centres).to(device), plan.clusters, ranks, form)
    batch = min(recipe.batch, len(plan.ids)) // ranks.world * ranks.world
    if not batch:
        raise NotTrainable(f"{len(plan.ids)} images are fewer than the {ranks.world} processes; start fewer")
    return Trainer.of(embedding, centres, plan.nearest, Order(len(plan.ids), batch, recipe.seed), recipe, ranks)


def _require_room(run: _Run) -> None:
    need, free = checkpoint.expected_bytes(run.trainer), shutil.disk_usage(run.folder).free
    if need > free:
        raise TrainingFailed(
            f"the disk of {run.folder.parent} is too full: checkpoints and the trained network need {readable(need)}, "
            f"and {readable(free)} are free; make room"
        )


def _train(run: _Run, position: Position, on_progress: OnProgress[Step]) -> None:
    """Take all steps that are left. Raises NotTrainable if the loss is not finite."""
    trainer, order = run.trainer, run.trainer.order
    if run.judge and position.before is None:
        position.before = run.judge.accuracy(trainer.embedding, trainer.ranks.device, trainer.ranks)
    left = range(position.step, trainer.steps)
    for step, batch in zip(left, run.images.batches(order, left, trainer.part), strict=True):
        sums = torch.tensor(position.sums, dtype=torch.float64) + trainer.step(step, batch).cpu().double()
        require_finite(sums[:1], len(position.curve) + 1)
        position.sums, position.step = sums.tolist(), step + 1
        ends = position.step % order.steps == 0
        if ends:
            _end_epoch(run, position)
        if ends or position.step % trainer.recipe.save_every == 0:
            checkpoint.save(run.folder, trainer, position)
        loss = position.curve[-1].loss if ends else position.sums[0] / (position.step % order.steps)
        on_progress(Step(position.step, trainer.steps, f"steps, loss {loss:.3f}"))


def _end_epoch(run: _Run, position: Position) -> None:
    """Add the epoch to the curve."""
    trainer = run.trainer
    means = torch.tensor(position.sums) / trainer.order.steps
    accuracy = run.judge.accuracy(trainer.embedding, trainer.ranks.device, trainer.ranks) if run.judge else None
    loss, positive, negative = means.tolist()
    position.curve.append(TunedEpoch(loss, positive, negative, accuracy))
    position.sums = [0.0, 0.0, 0.0]
    for broken in trainer.ranks.collected(run.images.broken):
        position.broken |= broken


def _publish(
    run: _Run, tower: Trainable, encoder: Encoder, request: TuneRequest, position: Position, towers: Path
) -> Path:
    """Write the folder of the trained network, and return it. An intact folder of that name stays."""
    target = towers / f"{tower.label}-mlcd-{digest(tower.module.state_dict())[:12]}"
    with checkpoint.on_disk("the trained network", "its last checkpoint is kept"), folders.lock(towers / _LOCK):
        if not target.is_dir():
            with folders.writing(target) as folder:
                tower.write(folder)
                write_report(folder, tower.name(target), encoder, request, run.plan, position)
    return target


def _remarks(position: Position) -> Iterator[str]:
    """Yield sentences about what went wrong, and about a network that became worse."""
    if position.broken:
        some = ", ".join(f"{id_[:12]} ({reason})" for id_, reason in sorted(position.broken.items())[:3])
        yield f"{len(position.broken)} images could not be read and were left out, e.g. {some}"
    after = position.curve[-1].accuracy
    if after is not None and position.before is not None and after < position.before:
        yield (
            f"the trained network is worse: nearest neighbours name {after:.1%} of the held-out images, and named "
            f"{position.before:.1%} before; keep the old one, or train with a smaller learning_rate or fewer epochs"
        )
