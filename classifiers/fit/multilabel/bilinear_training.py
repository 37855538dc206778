"""Gradient descent for bilinear heads."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.fit.descent import Parameters, Schedule, descend
from classifiers.fit.device import on_device
from classifiers.fit.multilabel.base import log_odds
from classifiers.fit.multilabel.losses import asymmetric_loss, zlpr_loss
from classifiers.fit.resident import Rows, moved

FIRST_SCALE = 20.0
"""Initial scale of the cosines. Cosines of images with texts are rarely above 0.3, so all first scores lie within a
few units of each other."""
LOSSES = {"asl": asymmetric_loss, "zlpr": zlpr_loss}


@dataclass(frozen=True, slots=True, kw_only=True)
class BilinearPlan:
    """The hyper-parameters of a bilinear head's training; `BilinearClassifier` explains each."""

    rank: int
    loss: Literal["asl", "zlpr"]
    shared: bool
    seed: int
    schedule: Schedule


def train(
    plan: BilinearPlan,
    units: NDArray[np.float32],
    labels: NDArray[np.bool_],
    text: NDArray[np.float32],
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[dict[str, NDArray[np.float32]], int, tuple[float, ...]]:
    """Return the learned arrays of a `BilinearHead`, the number of the epoch they come from, and the judge's figures.

    Training runs on a CUDA card if there is one and the work is worth it, see `classifiers.fit.device`.

    Args:
        units: vectors of norm 1, (n, d).
        labels: the labels of each row, (n, L).
        text: text vectors of norm 1, (L, t).
        split: numbers of the training rows, and of the held-out rows.

    Raises NotTrainable when the loss is not finite.
    """
    operations = 6.0 * len(split[0]) * plan.schedule.epochs * len(text) * (units.shape[1] + plan.rank)
    return on_device(lambda device: train_on(torch.device(device), plan, units, labels, text, split), operations)


def train_on(
    device: torch.device,
    plan: BilinearPlan,
    units: NDArray[np.float32],
    labels: NDArray[np.bool_],
    text: NDArray[np.float32],
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[dict[str, NDArray[np.float32]], int, tuple[float, ...]]:
    """Return what `train` does, computed on the device."""
    learning, held = split
    images, there, texts = Rows(units, device), Rows(labels, device), moved(torch.from_numpy(text), device)
    random = Generator().manual_seed(plan.seed)
    first = start(plan, units[learning], labels[learning], text, random)
    learned = {name: moved(tensor, device) for name, tensor in first.items()}

    def scores(p: Parameters, rows: NDArray[np.int64]) -> Tensor:
        turned = (texts @ p["right"]) @ p["left"].T
        return p["log_scale"].exp() * (images[rows] @ (texts + turned if plan.shared else turned).T) + p["bias"]

    def loss(drawn: Tensor) -> Tensor:
        rows = learning[drawn.numpy()]
        return LOSSES[plan.loss](scores(learned, rows), there[rows]).mean()

    @torch.no_grad()
    def judge(p: Parameters) -> float:
        return mean_average_precision(scores(p, held).cpu().numpy(), labels[held])

    found = descend(learned, loss, len(learning), plan.schedule, random, judge if len(held) else None)
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in found.parameters.items()}
    arrays["scale"] = np.exp(arrays.pop("log_scale"))
    return arrays, found.epoch, found.judged


def start(
    plan: BilinearPlan,
    units: NDArray[np.float32],
    labels: NDArray[np.bool_],
    text: NDArray[np.float32],
    random: Generator,
) -> Parameters:
    """Return the first weights: W = I, or random for two spaces.

    The bias makes the mean score equal to the labels' mean log odds.
    """
    (d, t), r = (units.shape[1], text.shape[1]), plan.rank
    left = torch.randn(d, r, generator=random) / math.sqrt(d)
    right = torch.zeros(t, r) if plan.shared else torch.randn(t, r, generator=random) / math.sqrt(t)
    mean_cosine = float(units.mean(axis=0) @ text.mean(axis=0)) if plan.shared else 0.0
    prior = float(log_odds(np.count_nonzero(labels, keepdims=True), labels.size)[0, 0])
    return {
        "left": left,
        "right": right,
        "log_scale": torch.tensor([math.log(FIRST_SCALE)]),
        "bias": torch.tensor([prior - FIRST_SCALE * mean_cosine]),
    }
