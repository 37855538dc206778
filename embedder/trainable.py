"""Image networks that can be trained further: what an encoder gives to whoever trains it, and how it is saved."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from embedder.spec import ImagePreprocessing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Trainable:
    """An image network in fp32 on the CPU, whose parameters are trained in place.

    Attributes:
        module: the network in training mode: (n, 3, size, size) float32, normalised as `image` says → (vectors
            (n, d), …). Parameters that are not saved have no gradients.
        image: how the encoder that results prepares images.
        label: the name of the network, which a folder may begin with.
        write: writes the network as it is now into an empty folder, as safetensors.
        name: the name of the encoder that such a folder makes.
    """

    module: "torch.nn.Module"
    image: ImagePreprocessing
    label: str
    write: Callable[[Path], None]
    name: Callable[[Path], str]


@runtime_checkable
class HasTrainable(Protocol):
    """An encoder whose image network may be trained further."""

    def trainable(self) -> Trainable | None:
        """Return a new copy of the network; None if this encoder's network cannot be trained."""


def thawed(module: "torch.nn.Module") -> "torch.nn.Module":
    """Return the module in training mode, its parameters with gradients."""
    return module.train().requires_grad_(True)
