"""The processes that train one network together, and what they tell each other; one process alone needs no group."""

import math
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from classifiers.fit.device import chosen

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""Longest time that a process waits for another one, which may find clusters of all vectors meanwhile."""


class Ranks:
    """This process among those that train together.

    Args:
        rank: number of this process, from 0.
        world: number of all processes. With more than one, torch's process group must be initialised.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    @property
    def first(self) -> bool:
        """True for the process that prepares, saves and reports."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The CUDA card of this process if there is one, otherwise the CPU. See `classifiers.fit.device.using`."""
        kind = chosen(math.inf)
        return torch.device(kind, distributed.get_node_local_rank(0)) if kind == "cuda" else torch.device(kind)

    def share(self, total: int) -> slice:
        """Return the part of `total` rows that this process holds. The parts are equal up to one row."""
        return slice(total * self.rank // self.world, total * (self.rank + 1) // self.world)

    def gathered(self, x: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, in their order. All must have one shape."""
        if self.world == 1:
            return [x]
        found = [torch.empty_like(x) for _ in range(self.world)]
        distributed.all_gather(found, x.contiguous())
        return found

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes. It takes the place of `x`."""
        if self.world > 1:
            distributed.all_reduce(x)
        return x

    def told(self, x: T) -> T:
        """Return the object that the first process gives."""
        box = [x]
        if self.world > 1:
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def collected(self, x: T) -> list[T]:
        """Return the objects of all processes, in their order."""
        box: list[T | None] = [None] * self.world
        if self.world == 1:
            return [x]
        distributed.all_gather_object(box, x)
        return [each for each in box if each is not None]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def leave(self) -> None:
        """End the group, after all work is done."""
        if self.world > 1:
            distributed.destroy_process_group()


def launched() -> Ranks:
    """Return the place of this process among those that ``torchrun`` started; alone if it started none."""
    if not distributed.is_torchelastic_launched():
        return Ranks()
    if torch.cuda.is_available():
        torch.cuda.set_device(distributed.get_node_local_rank(0))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    return Ranks(distributed.get_rank(), distributed.get_world_size())
