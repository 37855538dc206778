"""Rows of arrays as tensors on the device that learns, without waiting for that device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHARE = 0.5
"""Greatest share of a card's free memory that the rows of one array may take. The rest is for the steps."""
PIECE_BYTES = 1 << 26
"""Bytes of an array that are copied to a card at a time."""
CPU = torch.device("cpu")


class Rows:
    """Rows of an array (n, …), read by their numbers as tensors on a device.

    If all rows take little of a card's memory, they are copied to the card once. Otherwise they stay on the host, and
    each batch is copied while the card still computes the one before.
    """

    def __init__(self, array: NDArray[Any], device: torch.device) -> None:
        self.array, self.device = array, device
        self.resident = resident(array, device) if 0 < array.nbytes <= SHARE * free_bytes(device) else None

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Tensor:
        """Return the rows of these numbers, which are on the host."""
        if self.resident is None:
            return moved(tensor_of(self.array[rows]), self.device)
        return self.resident[rows if isinstance(rows, slice) else moved(torch.from_numpy(rows), self.device)]


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device. A copy from the CPU to a card does not wait for the card."""
    if device.type == tensor.device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a card; 0 for the CPU, where rows are read from where they are."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def resident(array: NDArray[Any], device: torch.device) -> Tensor | None:
    """Return all rows of an array on the device, copied a piece at a time; None if its memory does not suffice."""
    step = max(1, PIECE_BYTES * len(array) // array.nbytes)
    try:
        whole = torch.empty(array.shape, dtype=tensor_of(array[:1]).dtype, device=device)
        for first in range(0, len(array), step):
            whole[first : first + step].copy_(tensor_of(array[first : first + step]))
    except torch.OutOfMemoryError:
        return None
    return whole


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor on the CPU, in float32 if torch does not know its type.

    A read-only array, such as a memory-mapped file, is copied, because torch has no read-only tensors.
    """
    if not array.dtype.isnative or array.dtype == np.longdouble:
        array = array.astype(np.float32)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
