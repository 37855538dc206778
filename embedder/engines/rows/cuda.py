"""A CUDA device that never waits: rows arrive, are computed and leave on streams of their own.

A pass takes its turn only to launch its copies and kernels, which takes milliseconds. Then the calling thread waits for
its own results, while other threads launch the next passes. Turns are first come, first served, so encoders that share
a device take turns pass by pass.
"""

from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.encoder import Port
from embedder.engines.rows.devices import Arrays, Forward, Record, Wait, zeros
from embedder.engines.rows.turns import Turns

LANES = 2
"""Passes that keep a device busy: one is computed while the other's rows are copied."""

_RECORDING = Lock()
"""A process may record one CUDA graph at a time, whatever the device, and must not synchronise the device meanwhile."""


class CudaDevice:
    """The streams of one device. All encoders of the process share them, see `shared`.

    - Rows of a pass arrive, are computed and leave on three streams. All passes are computed on the same one, so that a
      pass is finished before the next one begins, and its memory is used again.
    - CUDA graphs of few rows run, and are recorded, on a stream of high priority, so that a photo does not wait for a
      backfill. Their kernels share workspaces, which is safe because one stream runs them one after the other.
    - Networks are compiled and measured aside, without a turn: passes go on meanwhile.
    """

    lanes = LANES

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._turns = Turns()
        streams = [torch.cuda.Stream(device, priority) for priority in (0, 0, 0, 0, -1)]  # type: ignore[no-untyped-call]
        self._arriving, self._computing, self._leaving, self._aside, self._few = streams

    def start(self, forward: Forward, arrays: Arrays) -> Wait:
        staged = [_pinned(x) for x in arrays]
        with self._turns, torch.inference_mode():
            with torch.cuda.stream(self._arriving):
                inputs = [x.to(self._device, non_blocking=True) for x in staged]
            self._computing.wait_stream(self._arriving)
            with torch.cuda.stream(self._computing):
                outputs = forward(*inputs)
            self._leaving.wait_stream(self._computing)
            with torch.cuda.stream(self._leaving):
                return _Leaving(outputs, (staged, inputs))

    def recorder(self, forward: Forward, ports: Sequence[Port]) -> Record:
        pool = torch.cuda.graph_pool_handle()  # the graphs of a network never run at once, so they share memory

        def record(rows: int) -> "_Graph | None":
            if not _RECORDING.acquire(blocking=False):
                return None
            try:
                return self._record(forward, ports, rows, pool)
            finally:
                _RECORDING.release()

        return record

    def _record(self, forward: Forward, ports: Sequence[Port], rows: int, pool: Any) -> "_Graph":
        with torch.inference_mode(), torch.cuda.device(self._device):
            with torch.cuda.stream(self._few):
                inputs = zeros(ports, rows, self._device)
                for _ in range(2):  # compiles, tunes, and allocates what outlives a pass
                    forward(*inputs)
            graph = torch.cuda.CUDAGraph()
            # A turn, because whatever another thread launched on this stream would be recorded too. "thread_local"
            # forbids only this thread what a recording cannot hold. The outer context leaves the stream even if the
            # recording fails.
            with (
                self._turns,
                torch.cuda.stream(self._few),
                torch.cuda.graph(graph, pool, self._few, capture_error_mode="thread_local"),
            ):
                outputs = forward(*inputs)
        return _Graph(self, graph, inputs, outputs)

    def replay(self, graph: "_Graph", arrays: Arrays) -> Wait:
        """Begin a pass on a CUDA graph. All of it is on one stream, so no pass overwrites the buffers of another."""
        rows, staged = len(arrays[0]), [_pinned(x) for x in arrays]
        with self._turns, torch.inference_mode(), torch.cuda.stream(self._few):
            for buffer, x in zip(graph.inputs, staged, strict=True):
                buffer[:rows].copy_(x, non_blocking=True)
            graph.graph.replay()
            return _Leaving([y[:rows] for y in graph.outputs], (graph, staged))

    def rehearse(self, forward: Forward, ports: Sequence[Port], rows: int) -> bool:
        try:
            # Compiling may synchronise the device, which would spoil a recording.
            with _RECORDING, torch.inference_mode(), torch.cuda.stream(self._aside):
                forward(*zeros(ports, rows, self._device))
                self._aside.synchronize()
        except torch.OutOfMemoryError:
            self.free()
            return False
        return True

    def free(self) -> None:
        """Give memory back to the device, which every stream of the process may then use."""
        with _RECORDING, torch.cuda.device(self._device):
            torch.cuda.empty_cache()


def shared(device: torch.device) -> CudaDevice:
    """Return the streams of a device, the same for every encoder."""
    return _streams(torch.cuda.current_device() if device.index is None else device.index)


def wait_for_weights(device: torch.device) -> None:
    """Wait until the current stream is done: it moves and converts weights, which other streams then read."""
    torch.cuda.current_stream(device).synchronize()


@cache
def _streams(index: int) -> CudaDevice:
    return CudaDevice(torch.device("cuda", index))


class _Graph:
    """A recorded network with its buffers. Rows beyond those of a pass hold what an earlier pass left there."""

    def __init__(
        self,
        device: CudaDevice,
        graph: torch.cuda.CUDAGraph,
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
    ) -> None:
        self.graph, self.inputs, self.outputs = graph, inputs, outputs
        self._device = device

    def start(self, arrays: Arrays) -> Wait:
        return self._device.replay(self, arrays)


class _Leaving:
    """Results on their way from the device, on the current stream. A call waits for them and returns arrays.

    Args:
        used: what the device reads until then. Freed earlier, its memory would be given to the next pass.
    """

    def __init__(self, outputs: Sequence[torch.Tensor], used: object) -> None:
        self._used = (outputs, used)
        self._results = [torch.empty(y.shape, dtype=y.dtype, pin_memory=True) for y in outputs]
        for result, y in zip(self._results, outputs, strict=True):
            result.copy_(y, non_blocking=True)
        # The thread that waits sleeps, and others may run Python.
        self._arrived = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._arrived.record()

    def __call__(self) -> list[NDArray[Any]]:
        self._arrived.synchronize()
        return [result.numpy().copy() for result in self._results]  # pinned memory is scarce, and used again


def _pinned(array: NDArray[Any]) -> torch.Tensor:
    """Return a copy in pinned memory, from which the device copies by itself. torch keeps that memory for later."""
    return torch.from_numpy(np.ascontiguousarray(array)).pin_memory()
