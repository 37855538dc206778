"""Checkpoints of a training: all that the next step depends on, so that a killed training ends as if never stopped.

A checkpoint is a folder that appears whole or not at all. Each process writes its share of the centres; a training may
go on with another number of processes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from classifiers.fit.discrimination.ranks import Ranks
from classifiers.fit.discrimination.sampled import SampledCentres
from embedder import folders
from embedder.weights.checkpoint import write_state
from services.jobs.errors import TrainingFailed
from services.jobs.tune.trainer import Trainer, moments, restore_moments

FOLDER = "checkpoint"
_NETWORK, _MOMENTS, _STATE = "network.safetensors", "moments.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class TunedEpoch:
    """One epoch: means of the loss and of the cosines of images with positive and negative centres (paper, Fig. 3).

    Attributes:
        accuracy: of nearest neighbours after it; None without a judge.
    """

    loss: float
    positive: float
    negative: float
    accuracy: float | None = None


@dataclass(slots=True)
class Position:
    """How far a training is.

    Attributes:
        step: number of steps taken.
        sums: sums over the steps of the current epoch of loss, positive and negative cosine.
        curve: the finished epochs.
        before: accuracy of nearest neighbours before the training; None without a judge.
        broken: {id: reason} of images that could not be read.
    """

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    curve: list[TunedEpoch] = field(default_factory=list)
    before: float | None = None
    broken: dict[str, str] = field(default_factory=dict)


def save(run: Path, trainer: Trainer, position: Position) -> None:
    """Write the checkpoint of all processes. Raises TrainingFailed if the disk is full."""
    ranks = trainer.ranks
    target: AbstractContextManager[Path] = (
        folders.writing(run / FOLDER, replace=True) if ranks.first else nullcontext(Path())
    )
    kept = "the one before it is kept" if (run / FOLDER).is_dir() else "there is none before it"
    with on_disk(f"the checkpoint of step {position.step}", kept), target as fresh:
        folder = ranks.told(fresh)
        write_state(_centres(trainer.centres), folder / _part(ranks.rank))
        if ranks.first:
            write_state(trainer.embedding.state_dict(), folder / _NETWORK)
            write_state(dict(moments(trainer.optimiser)), folder / _MOMENTS)
            (folder / _STATE).write_text(json.dumps({"parts": ranks.world, **asdict(position)}))
        ranks.wait()
    ranks.wait()


@contextmanager
def on_disk(what: str, kept: str) -> Iterator[None]:
    """Raise TrainingFailed, which says what is kept, if `what` cannot be written in this block."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingFailed(
            f"{what} could not be written ({error}); {kept}: make room, then give the same command again"
        ) from error


def restore(run: Path, trainer: Trainer) -> Position:
    """Put the state of the last checkpoint back; return the position, the beginning if there is no checkpoint."""
    folder = run / FOLDER
    if not folder.is_dir():
        return Position()
    state: dict[str, Any] = json.loads((folder / _STATE).read_text())
    trainer.embedding.load_state_dict(load_file(folder / _NETWORK))
    restore_moments(trainer.optimiser, load_file(folder / _MOMENTS))
    _restore_centres(folder, state.pop("parts"), trainer.centres)
    return Position(**state | {"curve": [TunedEpoch(**each) for each in state["curve"]]})


def _centres(centres: SampledCentres) -> Mapping[str, Tensor]:
    return {name: getattr(centres, name) for name in SampledCentres.TENSORS}


def _restore_centres(folder: Path, parts: int, centres: SampledCentres) -> None:
    """Fill this process's share of the centres from the shares of the processes that saved them."""
    mine = centres.ranks.share(centres.total)
    for rank in range(parts):
        theirs = Ranks(rank, parts).share(centres.total)
        start, stop = max(mine.start, theirs.start), min(mine.stop, theirs.stop)
        if start >= stop:
            continue
        with safe_open(folder / _part(rank), "pt") as file:
            for name, target in _centres(centres).items():
                rows: Tensor = file.get_slice(name)[start - theirs.start : stop - theirs.start]
                target[start - mine.start : stop - mine.start] = rows.to(target.device)


def _part(rank: int) -> str:
    return f"centres-{rank}.safetensors"


def expected_bytes(trainer: Trainer) -> int:
    """Return the bytes that a training needs on the disk: two checkpoints, and the finished network."""
    network = sum(each.numel() for each in trainer.embedding.parameters())
    centres = trainer.centres.total * trainer.centres.weight.shape[1]
    return 2 * 3 * 4 * (network + centres) + 4 * network
