"""The choice of the device that learns: a CUDA card for work that is worth it, otherwise the CPU.

Seeds, first weights, the order of rows and dropout are drawn on the CPU for both devices. So both make the same steps,
and their results differ only by rounding. On one device the same arguments give the same result to the bit. What is
published does not record the device.

To keep a card free for something else, hide it from the process (an empty ``CUDA_VISIBLE_DEVICES``), or call `using`.
This module imports torch only for work that is worth a card, because the import takes a second.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeVar

T = TypeVar("T")
Device = Literal["cpu", "cuda"]
log = logging.getLogger("headwater.classifiers")

LEAST_OPERATIONS = 2e11
"""Least number of floating-point operations for which a card is used. One core takes about four seconds for so many,
which is about what a process pays once for CUDA's context and kernels."""
UNUSABLE = ("out of memory", "ALLOC_FAILED", "no kernel image")
"""Words of CUDA's errors for a card that is full, or too old for this torch."""

_given: ContextVar[Device | None] = ContextVar("device", default=None)


@contextmanager
def using(device: Device | None) -> Iterator[None]:
    """Learn on this device, whatever the size of the work; None chooses by the work again."""
    token = _given.set(device)
    try:
        yield
    finally:
        _given.reset(token)


def chosen(operations: float) -> Device:
    """Return the device for work of so many floating-point operations."""
    if (device := _given.get()) is not None:
        return device
    if operations < LEAST_OPERATIONS:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def on_device(work: Callable[[Device], T], operations: float) -> T:
    """Return `work(device)` for the device chosen by the number of `operations`.

    If a card is full, or too old for this torch, one line is logged, and the work is done from its beginning on the
    CPU.
    """
    device = chosen(operations)
    try:
        return work(device)
    except RuntimeError as error:
        if device == "cpu" or not any(words in str(error) for words in UNUSABLE):
            raise
        log.warning("The %s device cannot be used, so training starts again on the CPU: %s", device, first_line(error))
    # After the except block, because until its end the error keeps the tensors of the work alive.
    import torch

    torch.cuda.empty_cache()
    return work("cpu")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message. CUDA's messages are long."""
    return (str(error).splitlines() or [type(error).__name__])[0]
