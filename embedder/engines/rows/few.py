"""Few rows: passes of 1, 2, 4, … 32 rows, each recorded once, so that no kernel is launched by itself again.

On a GPU the launch of some hundred kernels takes longer than their work if there are only few rows. A CUDA graph
launches all of them at once.
"""

import logging
from threading import Lock

from embedder.engines.rows.devices import Arrays, Record, Recording, Wait

log = logging.getLogger("headwater.embedder")

SIZES = (1, 2, 4, 8, 16, 32)

_ATTEMPTS = 2


def size_for(rows: int) -> int | None:
    """Return the smallest size that holds `rows` rows; None for more than 32."""
    return next((size for size in SIZES if size >= rows), None)


class FewRows:
    """Recordings of one network, each made when a call first needs it.

    If recording fails twice, or memory is short, the network runs without recordings from then on. Once may be chance:
    another part of the process synchronised the device meanwhile.

    Args:
        record: returns the recording of the network for a number of rows; None if the device cannot record now.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._made: dict[int, Recording] = {}
        self._turn = Lock()
        self._off, self._failures = False, 0

    def start(self, arrays: Arrays) -> Wait | None:
        """Begin a pass on a recording, padded to its size. None: these rows need a pass without a recording."""
        size = size_for(len(arrays[0]))
        recording = None if size is None else self._recording(size)
        return None if recording is None else recording.start(arrays)

    def drop(self) -> bool:
        """Forget all recordings, to make room. Return True if there were any."""
        with self._turn:
            had, self._off = bool(self._made), True
            self._made = {}
        return had

    def _recording(self, size: int) -> Recording | None:
        made = self._made.get(size)
        if made is not None or self._off:
            return made
        with self._turn:
            if size not in self._made and not self._off:
                try:
                    if recording := self._record(size):
                        self._made[size] = recording
                except Exception as error:  # torch and CUDA raise many types
                    self._failed(error)
            return self._made.get(size)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == _ATTEMPTS:
            self._off, self._made = True, {}
            log.warning(
                "Passes of few rows are not recorded, because %s: %s. They run without, which is slower.",
                type(error).__name__,
                str(error).strip().partition("\n")[0],
            )
