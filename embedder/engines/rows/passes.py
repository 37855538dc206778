"""Passes: a network that takes any number of rows, a limited number at a time."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import Pace
from embedder.engines.rows.devices import Arrays, Device, Forward, Wait
from embedder.engines.rows.few import FewRows
from embedder.engines.rows.measured import CANDIDATES
from embedder.errors import DeviceFull

log = logging.getLogger("headwater.embedder")


class Passes:
    """A network on a device. Implements `embedder.encoder.Run`.

    A call has at most `lanes` passes under way. When the device has too little memory for a pass, recordings are
    dropped first; then the network runs half as many rows from then on.

    Args:
        device_type: e.g. cuda, for messages.
        rows: returns the number of rows of a pass. It is called once, by the first call that has many rows.
        few: recordings for few rows; None if the network has none.
        rows_of_a_call: rows that suit a call; None for as many as a pass has.
    """

    def __init__(
        self,
        device: Device,
        device_type: str,
        forward: Forward,
        rows: Callable[[], int],
        few: FewRows | None = None,
        rows_of_a_call: int | None = None,
    ) -> None:
        self._device, self._device_type, self._forward = device, device_type, forward
        self._find_rows, self._few, self._rows_of_a_call = rows, few, rows_of_a_call
        self._turn = Lock()
        self._most: int | None = None

    @property
    def pace(self) -> Pace:
        return Pace(self._rows_of_a_call or self._rows(), self._device.lanes)

    def __call__(self, inputs: Arrays) -> list[NDArray[Any]]:
        """Return the outputs in fp32, with as many rows as each input. Raises DeviceFull if one row is too many."""
        waiting = deque[Wait]()
        try:
            parts = [*self._outputs(inputs, waiting)]
        finally:
            for wait in waiting:  # after an error, the device may still use the memory of this call
                with suppress(Exception):
                    wait()
        return [column[0] if len(column) == 1 else np.concatenate(column) for column in zip(*parts, strict=True)]

    def _outputs(self, inputs: Arrays, waiting: deque[Wait]) -> Iterator[list[NDArray[Any]]]:
        """Yield the outputs of each pass. `waiting` has the passes that are under way."""
        import torch

        start, rows = 0, len(inputs[0])
        while start < rows:
            some = [x[start : start + self._limit(rows)] for x in inputs]
            if len(waiting) == self._device.lanes:
                yield waiting.popleft()()
            try:
                waiting.append(self._start(some))
            except torch.OutOfMemoryError as error:
                self._make_room(len(some[0]), error)
            else:
                start += len(some[0])
        while waiting:
            yield waiting.popleft()()

    def _start(self, arrays: Arrays) -> Wait:
        recorded = self._few.start(arrays) if self._few else None
        return recorded or self._device.start(self._forward, arrays)

    def _limit(self, rows: int) -> int:
        """Return the most rows of a pass. A call with few rows does not wait until that is measured."""
        return rows if self._most is None and rows <= CANDIDATES[0] else self._rows()

    def _rows(self) -> int:
        with self._turn:
            if self._most is None:
                self._most = self._find_rows()
            return self._most

    def _make_room(self, rows: int, error: Exception) -> None:
        """Drop the recordings, or halve the passes. Raises DeviceFull if there was too little memory for one row."""
        if not (self._few and self._few.drop()):
            if rows == 1:
                raise DeviceFull(self._device_type) from error
            kind = self._device_type
            log.warning("The %s device has too little memory for %d rows; passes are halved.", kind, rows)
            with self._turn:
                self._most = min(self._most or rows, rows // 2)
        self._device.free()
