"""Gradient descent as the heads for several labels need it: AdamW, one cycle, averaged weights, the best epoch kept."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from classifiers.errors import NotTrainable

Parameters = dict[str, Tensor]

WARM_UP = 0.2
"""Share of the steps on which the learning rate rises."""
AVERAGE = 0.9997
"""Decay of the exponential average of the weights, which is what is kept. That of the first t steps decays at most by
(1 + t) / (10 + t), so that it forgets where it started."""
PATIENCE = 10
"""Epochs without a better one after which to stop; only with a judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast.

    Attributes:
        weight_decay: of matrices; biases and scales have none.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2


@dataclass(frozen=True, slots=True)
class Descended:
    """The averaged weights of the best epoch, its number, and what the judge said of each; epoch 0 is the start."""

    parameters: Parameters
    epoch: int
    judged: tuple[float, ...]


def descend(
    learned: Parameters,
    loss: Callable[[Tensor], Tensor],
    n_rows: int,
    schedule: Schedule,
    random: Generator,
    judge: Callable[[Parameters], float] | None = None,
) -> Descended:
    """Minimises the mean of `loss` over batches of rows.

    Args:
        learned: leaf tensors; `loss` reads them, this changes their values in place.
        loss: rows (b,) int64 → scalar.
        judge: averaged weights → how good they are, more is better; without one the last epoch is kept.

    Raises NotTrainable when the loss is no longer finite.
    """
    for tensor in learned.values():
        tensor.requires_grad_()
    optimiser = torch.optim.AdamW(decay_groups(learned, schedule.weight_decay), lr=schedule.learning_rate)
    steps = math.ceil(n_rows / schedule.batch) * schedule.epochs
    cycle = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: one_cycle(step, steps))
    average = copied(learned)
    best, best_epoch, judged, step = average, schedule.epochs, [], 0
    if judge is not None:
        best, best_epoch, judged = copied(average), 0, [judge(average)]
    for epoch in range(1, schedule.epochs + 1):
        for rows in batches(n_rows, schedule.batch, random):
            optimiser.zero_grad()
            value = loss(rows)
            require_finite(value, epoch)
            torch.autograd.backward(value)
            optimiser.step()
            cycle.step()
            step += 1
            follow(average, learned, min(AVERAGE, (1 + step) / (10 + step)))
        if judge is None:
            continue
        judged.append(judge(average))
        if judged[-1] > judged[best_epoch]:
            best, best_epoch = copied(average), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    return Descended(best, best_epoch, tuple(judged))


def one_cycle(step: int, steps: int) -> float:
    """Share of the learning rate at a step from 0: a line up, then half a cosine down to 0 (arXiv 1708.07120)."""
    top = WARM_UP * steps
    if step < top:
        return (step + 1) / (top + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - top) / max(1.0, steps - top)))


def copied(parameters: Parameters) -> Parameters:
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


def decay_groups(learned: Parameters, weight_decay: float) -> list[dict[str, object]]:
    """The optimiser's parameter groups: matrices with decay, biases and scales without."""
    return [
        {"params": [t for t in learned.values() if t.ndim > 1], "weight_decay": weight_decay},
        {"params": [t for t in learned.values() if t.ndim <= 1], "weight_decay": 0.0},
    ]


def batches(n_rows: int, size: int, random: Generator) -> Iterator[Tensor]:
    """All rows in a new random order, in batches that differ by at most one row in size."""
    order = torch.randperm(n_rows, generator=random)
    yield from order.tensor_split(math.ceil(n_rows / size))


@torch.no_grad()
def follow(average: Parameters, learned: Parameters, decay: float) -> None:
    """average ← decay · average + (1 - decay) · learned, in place."""
    for name, tensor in learned.items():
        average[name].lerp_(tensor, 1.0 - decay)


def require_finite(loss: Tensor, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise NotTrainable(f"the loss is {loss.item()} in epoch {epoch}: use a smaller learning_rate")
