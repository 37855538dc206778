"""The training of a network and its centres, step by step, in one process or several."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from classifiers.fit.discrimination.losses import draw
from classifiers.fit.discrimination.ranks import Ranks
from classifiers.fit.discrimination.sampled import SampledCentres
from services.jobs.tune.embedding import Embedding
from services.jobs.tune.images import Batch, Order
from services.jobs.tune.recipe import TowerRecipe


@dataclass(frozen=True, slots=True)
class Trainer:
    """Everything that a step changes, and what it needs.

    Attributes:
        embedding: the network, on the device of this process.
        centres: this process's share of the centres.
        nearest: numbers of each image's positives, (n, l).
        order: which images are in a step.
        steps: number of steps of the whole training.
    """

    embedding: Embedding
    centres: SampledCentres
    optimiser: torch.optim.AdamW
    shared: torch.nn.Module
    nearest: NDArray[np.int64]
    order: Order
    recipe: TowerRecipe
    ranks: Ranks
    steps: int

    @classmethod
    def of(
        cls,
        embedding: Embedding,
        centres: SampledCentres,
        nearest: NDArray[np.int64],
        order: Order,
        recipe: TowerRecipe,
        ranks: Ranks,
    ) -> "Trainer":
        """Return a trainer before its first step."""
        optimiser = torch.optim.AdamW(_groups(embedding, recipe.weight_decay), lr=recipe.learning_rate)
        steps = recipe.epochs * order.steps
        return cls(embedding, centres, optimiser, _shared(embedding, ranks), nearest, order, recipe, ranks, steps)

    @property
    def part(self) -> slice:
        """This process's part of the images of a step."""
        return self.ranks.share(self.order.batch)

    def step(self, number: int, batch: Batch) -> Tensor:
        """Take one step; return mean loss, mean positive and mean negative cosine before it, (3,)."""
        device, part = self.centres.weight.device, self.part
        generator = torch.Generator().manual_seed(_seed(self.recipe.seed, number, -1))
        torch.manual_seed(_seed(self.recipe.seed, number, self.ranks.rank))  # of dropout, where the network has any
        e = self.shared(torch.from_numpy(batch.pixels).to(device))
        readable = torch.from_numpy(batch.readable).to(device)
        found = self.centres.compare(
            torch.cat(self.ranks.gathered(e.detach())),
            torch.from_numpy(self.nearest[self.order.rows(number)]).to(device),
            draw(self.centres.total, self.recipe.drawn(self.centres.total), generator).to(device),
            torch.cat(self.ranks.gathered(readable.float())) > 0,
        )
        self._descend(number, e, found.gradient[part])
        return found.means

    def _descend(self, number: int, e: Tensor, gradient: Tensor) -> None:
        """Move the network and the centres.

        Args:
            gradient: of the batch's mean loss, with respect to this process's embeddings `e`.
        """
        rate = self.recipe.rate(number, self.steps)
        self.optimiser.zero_grad()
        # The processes' gradients are averaged, and must be summed.
        torch.autograd.backward(e, gradient * self.ranks.world)
        if self.recipe.clip:
            clip_grad_norm_(self.embedding.parameters(), self.recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.centres.update(rate * self.recipe.centre_rate, self.recipe.weight_decay)


def _groups(embedding: Embedding, weight_decay: float) -> list[dict[str, Any]]:
    """Return the parameters for the optimiser. Matrices and filters have weight decay; biases and norms have none."""
    trained = [each for each in embedding.parameters() if each.requires_grad]
    return [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _shared(embedding: Embedding, ranks: Ranks) -> torch.nn.Module:
    """Return the module to call: with several processes, one that averages the gradients of all."""
    if ranks.world == 1:
        return embedding
    # Some networks have parameters that do not reach their vectors, e.g. those of another way of pooling.
    return DistributedDataParallel(embedding, broadcast_buffers=False, find_unused_parameters=True)


def _seed(seed: int, step: int, stream: int) -> int:
    """Return the seed of one stream of random numbers in one step."""
    return int(np.random.SeedSequence([seed, step, stream + 1]).generate_state(1, np.uint64)[0] >> 1)


def moments(optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an optimiser's state as ``<number of the parameter>.<name>``."""
    for number, state in optimiser.state_dict()["state"].items():
        yield from ((f"{number}.{name}", tensor) for name, tensor in state.items())


def restore_moments(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the tensors of `moments` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
