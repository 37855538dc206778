"""The hyper-parameters of a network's training, checked when they are made. This module does not import torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from classifiers.fit.discrimination.recipe import how_many_negatives, recipe_of, require

LOSSES = ("mlcd", "mlc", "single")
"""Names of the losses, see `classifiers.fit.discrimination.losses`."""

WHOLE = {
    "nearest": 1,
    "dim": 1,
    "epochs": 1,
    "batch": 2,
    "least_negatives": 1,
    "save_every": 1,
    "seed": 0,
}
"""Whole-number parameters, and the least value of each."""
REAL = {
    "learning_rate": (0.0, 1.0),
    "centre_rate": (0.0, 1000.0),
    "weight_decay": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "clip": (0.0, math.inf),
    "scale": (1.0, 1000.0),
    "margin": (0.0, math.pi / 2),
    "negatives": (0.0, 1.0),
    "crop": (0.01, 1.0),
}
"""Parameters that may be fractions, and the range of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerRecipe:
    """The hyper-parameters of a network's training.

    The defaults are those of the paper (MLCD, arXiv 2407.17331) where they suit a network that is trained already, and
    choices of this project otherwise. The paper begins with random weights, at a learning rate of 1e-3.

    Attributes:
        loss: one of `LOSSES`.
        nearest: l, the number of nearest centres that are an image's positives.
        dim: D, width of the embeddings that are compared with centres. A wider network is projected onto it during
            training; the projection is dropped at the end, as in the released models.
        epochs: passes over the images.
        batch: images in a step, of all processes together; fewer if there are fewer images.
        learning_rate: peak learning rate of the network. It rises in the first steps, then falls along a cosine.
        centre_rate: learning rate of the centres as a multiple of `learning_rate` (UNICOM's code).
        weight_decay: weight decay of AdamW, for matrices and centres.
        warmup: share of all steps in which the learning rate rises.
        clip: largest norm of the network's gradient; longer ones are scaled down. 0: no limit.
        scale, margin: s, and m in radians, of the loss.
        negatives: r, the share of the centres that a step draws as negatives.
        least_negatives: least number of centres that a step draws, or all of fewer.
        crop: least share of an image's area that a random crop keeps.
        save_every: steps from one checkpoint to the next; the end of an epoch is always saved.
        seed: seed of the random number generators.
    """

    loss: str = "mlcd"
    nearest: int = 8
    dim: int = 512
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-4
    centre_rate: float = 5.0
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    scale: float = 32.0
    margin: float = 0.3
    negatives: float = 0.1
    least_negatives: int = 1000
    crop: float = 0.5
    save_every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise BadParameter for values that are not allowed."""
        require(self, LOSSES, WHOLE, REAL)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Return a recipe with these parameters, others at their defaults. Raises UnknownParameter, BadParameter."""
        return recipe_of(cls, parameters)

    def drawn(self, clusters: int) -> int:
        """Return the number of centres that a step draws as negatives."""
        return how_many_negatives(clusters, self.negatives, self.least_negatives)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of the network in a step, from 0, of `steps`."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
