"""Gradient descent for multi-label heads: AdamW with a one-cycle learning rate, averaged weights, early stopping."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from classifiers.errors import NotTrainable

Parameters = dict[str, Tensor]

WARM_UP = 0.2
"""Share of the steps in which the learning rate rises."""
AVERAGE = 0.9997
"""Decay of the exponential average of the weights; training returns this average. After t steps the decay is at most
(1 + t) / (10 + t), so that the average forgets the start."""
PATIENCE = 10
"""Training stops after this many epochs without improvement, if there is a judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Length and learning rate of a descent.

    Attributes:
        epochs: passes over the rows, at most.
        batch: rows of a step.
        learning_rate: highest rate of the cycle.
        weight_decay: decay of matrices; biases and scales have none.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2


@dataclass(frozen=True, slots=True)
class Descended:
    """The result of a descent.

    Attributes:
        parameters: averaged weights of the best epoch.
        epoch: its number; 0 is the start.
        judged: the judge's figure for each epoch from 0 on; empty without a judge.
    """

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
    """Minimise the mean of `loss` over batches of rows.

    Args:
        learned: leaf tensors that `loss` reads. Their values are changed in place.
        loss: row numbers (b,) int64, on the CPU → scalar.
        n_rows: number of rows.
        random: draws the order of the rows, on the CPU.
        judge: averaged weights → a figure, larger is better. The best epoch is kept; without a judge, the last one.

    Raises NotTrainable when the loss is not finite.
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
        values = []
        for rows in batches(n_rows, schedule.batch, random):
            optimiser.zero_grad()
            value = loss(rows)
            torch.autograd.backward(value)
            optimiser.step()
            cycle.step()
            step += 1
            follow(average, learned, min(AVERAGE, (1 + step) / (10 + step)))
            values.append(value.detach())
        require_finite(torch.stack(values), epoch)
        if judge is None:
            continue
        judged.append(judge(average))
        if judged[-1] > judged[best_epoch]:
            best, best_epoch = copied(average), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    return Descended(best, best_epoch, tuple(judged))


def one_cycle(step: int, steps: int) -> float:
    """Return the share of the learning rate at step 0, 1, …: a line up, then half a cosine to 0 (arXiv 1708.07120)."""
    top = WARM_UP * steps
    if step < top:
        return (step + 1) / (top + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - top) / max(1.0, steps - top)))


def copied(parameters: Parameters) -> Parameters:
    """Return a copy without gradients."""
    return {name: tensor.detach().clone() for name, tensor in parameters.items()}


def decay_groups(learned: Parameters, weight_decay: float) -> list[dict[str, object]]:
    """Return the optimiser's parameter groups: matrices with decay, biases and scales without."""
    return [
        {"params": [t for t in learned.values() if t.ndim > 1], "weight_decay": weight_decay},
        {"params": [t for t in learned.values() if t.ndim <= 1], "weight_decay": 0.0},
    ]


def batches(n_rows: int, size: int, random: Generator) -> Iterator[Tensor]:
    """Yield the numbers of all rows in a new random order, in batches that differ by at most one row in size."""
    order = torch.randperm(n_rows, generator=random)
    yield from order.tensor_split(math.ceil(n_rows / size))


@torch.no_grad()
def follow(average: Parameters, learned: Parameters, decay: float) -> None:
    """Update the average in place: average ← decay · average + (1 - decay) · learned."""
    torch._foreach_lerp_([average[name] for name in learned], list(learned.values()), 1.0 - decay)


def require_finite(losses: Tensor, epoch: int) -> None:
    """Raise NotTrainable if one of the losses (steps,) of an epoch is NaN or infinite.

    Callers check once an epoch, because reading a number from a card waits for all of its work.
    """
    for loss in losses[~losses.isfinite()].tolist():
        raise NotTrainable(f"training failed: the loss is {loss} in epoch {epoch}; use a smaller learning_rate")
