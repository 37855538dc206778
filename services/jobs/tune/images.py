"""The images of each training step: which ones, and their pixels, decoded and cropped ahead of the training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.spec import ImagePreprocessing
from services.jobs.tune.crops import random_crop, random_of
from services.jobs.tune.pixels import Pixels, Reader, Wanted
from services.jobs.tune.recipe import TowerRecipe
from store import Store

STEPS_AHEAD = 3
"""Steps whose images are decoded ahead."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of the images: a new permutation in each epoch. Images that fill no whole batch are left out of it.

    Attributes:
        images: number of images.
        batch: images in a step, of all processes together.
        seed: seed of the permutations.
    """

    images: int
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of steps in an epoch."""
        return self.images // self.batch

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the numbers of a step's images, (batch,). Steps are counted through all epochs."""
        epoch, place = divmod(step, self.steps)
        return _permutation(self.images, self.seed, epoch)[place * self.batch : (place + 1) * self.batch]


@lru_cache(maxsize=2)  # images are read ahead across the end of an epoch
def _permutation(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(images)


class Batch(NamedTuple):
    """The images of one process in one step.

    Attributes:
        pixels: (b, size, size, 3) uint8; black where the image cannot be read.
        readable: False for images that cannot be read, (b,).
    """

    pixels: NDArray[np.uint8]
    readable: NDArray[np.bool_]


@dataclass(slots=True)
class Images:
    """The images of a training. One that cannot be read never stops the training.

    Attributes:
        ids: ids of all training images.
        preprocessing: size, interpolation and normalisation of the network's input.
        broken: {id: reason} of the images that could not be read so far.
    """

    store: Store
    ids: Sequence[str]
    preprocessing: ImagePreprocessing
    recipe: TowerRecipe
    reader: Reader
    broken: dict[str, str] = field(default_factory=dict)

    def batches(self, order: Order, steps: range, part: slice) -> Iterator[Batch]:
        """Yield the batch of each step.

        Args:
            part: this process's part of a step's images.
        """
        size, wanted = part.stop - part.start, self._wanted(order, steps, part)
        pixels = self.reader.pixels(wanted, self._cropped, size, STEPS_AHEAD * size)
        return (self._batch(list(islice(pixels, size))) for _ in steps)

    def _wanted(self, order: Order, steps: range, part: slice) -> Iterator[Wanted]:
        """Yield this process's images of all steps, as they are stored."""
        for step in steps:
            ids = [self.ids[row] for row in order.rows(step)[part].tolist()]
            for id_, content in self.store.assets.contents(ids):
                yield Wanted(id_, content, step // order.steps)

    def _cropped(self, image: Image.Image, wanted: Wanted) -> NDArray[np.uint8]:
        random = random_of(self.recipe.seed, wanted.epoch, wanted.id)
        return random_crop(image, self.preprocessing, self.recipe.crop, random)

    def _batch(self, images: Sequence[Pixels]) -> Batch:
        blank = np.zeros((self.preprocessing.size, self.preprocessing.size, 3), np.uint8)
        self.broken |= {each.id: each.reason for each in images if each.pixels is None}
        pixels = np.stack([blank if each.pixels is None else each.pixels for each in images])
        return Batch(pixels, np.array([each.pixels is not None for each in images]))
