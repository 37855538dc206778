"""The hyper-parameters of a network's training, checked when they are made. This module does not import torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from classifiers.fit.discrimination.recipe import BaseRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerRecipe(BaseRecipe):
    """The hyper-parameters of a network's training.

    The paper begins with random weights, at a learning rate of 1e-3. The defaults suit a network that is trained
    already.

    Attributes:
        dim: width of the embeddings that are compared with centres. A wider network is projected onto it during
            training; the projection is dropped at the end, as in the released models.
        learning_rate: peak learning rate of the network. It rises in the first steps, then falls along a cosine.
        warmup: share of all steps in which the learning rate rises.
        clip: largest norm of the network's gradient; longer ones are scaled down. 0: no limit.
        crop: least share of an image's area that a random crop keeps.
        save_every: steps from one checkpoint to the next; the end of an epoch is always saved.
    """

    LOSSES = ("mlcd", "mlc", "single")
    WHOLE: ClassVar[Mapping[str, int]] = {**BaseRecipe.WHOLE, "save_every": 1}
    REAL: ClassVar[Mapping[str, tuple[float, float]]] = {
        **BaseRecipe.REAL,
        "warmup": (0.0, 1.0),
        "clip": (0.0, math.inf),
        "crop": (0.01, 1.0),
    }

    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-4
    warmup: float = 0.1
    clip: float = 1.0
    crop: float = 0.5
    save_every: int = 500

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of the network in a step, from 0, of `steps`."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        return self.learning_rate * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2
