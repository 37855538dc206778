"""What a pass of rows needs from a device, and its plain form for CPUs. `embedder.engines.rows.cuda` is the other."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import Port

if TYPE_CHECKING:
    import torch

Arrays = Sequence[NDArray[Any]]

Forward = Callable[..., "Sequence[torch.Tensor]"]
"""Tensors on the device, with n rows each → the outputs in fp32 on the device, with n rows each."""

Wait = Callable[[], list[NDArray[Any]]]
"""Waits for a pass that has begun and returns its outputs. Raises what went wrong on the device."""


class Recording(Protocol):
    """A network for a fixed number of rows."""

    def start(self, arrays: Arrays) -> Wait:
        """Begin a pass of as many rows as the recording has, or fewer. Only these come back."""


Record = Callable[[int], Recording | None]
"""Number of rows → the recording of a network for that number; None if the device cannot record now."""


class Device(Protocol):
    """A device that computes passes, begun by several threads."""

    @property
    def lanes(self) -> int:
        """Number of passes that keep the device busy."""

    def start(self, forward: Forward, arrays: Arrays) -> Wait:
        """Begin a pass. Raises torch.OutOfMemoryError if the device has too little memory for it."""

    def recorder(self, forward: Forward, ports: Sequence[Port]) -> Record:
        """Return a function that records the network for a fixed number of rows, so that it is launched at once."""

    def rehearse(self, forward: Forward, ports: Sequence[Port], rows: int) -> bool:
        """Compute `rows` rows of zeros beside the passes, and wait. False: there was too little memory."""

    def free(self) -> None:
        """Give memory back that no pass uses."""


class HostDevice:
    """A CPU, or a GPU without streams. Passes take turns, because each one uses all threads."""

    lanes = 1

    def __init__(self, device: "torch.device") -> None:
        self._device = device
        self._turn = Lock()

    def start(self, forward: Forward, arrays: Arrays) -> Wait:
        import torch

        tensors = [torch.from_numpy(np.ascontiguousarray(x)).to(self._device) for x in arrays]
        with self._turn, torch.inference_mode():
            outputs = [y.cpu().numpy() for y in forward(*tensors)]
        return lambda: outputs

    def recorder(self, forward: Forward, ports: Sequence[Port]) -> Record:
        return lambda rows: _HostRecording(self, forward, zeros(ports, rows, self._device))

    def rehearse(self, forward: Forward, ports: Sequence[Port], rows: int) -> bool:
        import torch

        try:
            with torch.inference_mode():
                forward(*zeros(ports, rows, self._device))
        except torch.OutOfMemoryError:
            return False
        return True

    def free(self) -> None:
        """Keep the memory: a CPU has no cache of its own."""


class _HostRecording:
    """Buffers of a fixed number of rows, as a recording on a GPU has them."""

    def __init__(self, device: HostDevice, forward: Forward, inputs: "list[torch.Tensor]") -> None:
        self._device, self._forward = device, forward
        self._inputs = [x.numpy() for x in inputs]
        self._turn = Lock()

    def start(self, arrays: Arrays) -> Wait:
        rows = len(arrays[0])
        with self._turn:
            for buffer, x in zip(self._inputs, arrays, strict=True):
                buffer[:rows] = x
            outputs = self._device.start(self._forward, self._inputs)()
        return lambda: [y[:rows] for y in outputs]


def zeros(ports: Sequence[Port], rows: int, device: "torch.device") -> "list[torch.Tensor]":
    """Return inputs of `rows` rows on the device. Every port must have a fixed shape."""
    import torch

    return [torch.zeros(rows, *port.shape, dtype=getattr(torch, port.dtype), device=device) for port in ports]
