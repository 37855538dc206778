"""Confines the failure of one file: whatever a decoder raises becomes a BadMedia, so no caller has to know decoders."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from embedder.errors import BadMedia, Reason

DEFAULT_MAX_DECODE_SECONDS = 30.0
"""Most processor time that the decoding of one sound or video takes, seconds."""


Reserve = Callable[[int], None]
"""Called with the bytes of memory that decoding needs, when the header is known and before they are taken. It may wait,
or raise BadMedia."""


def reserve_nothing(_: int) -> None:
    """Let decoding take its memory without asking."""


@contextmanager
def confined(
    bad: type[BadMedia] = BadMedia, *, who: str = "its decoder", no_memory: Reason = "unsupported"
) -> Iterator[None]:
    """Turn any exception inside the block into `bad`; a BadMedia stays as it is.

    KeyboardInterrupt, SystemExit and GeneratorExit pass: they do not come from the file.

    Args:
        who: what runs inside the block, for the message.
        no_memory: reason if the block ran out of memory.
    """
    try:
        yield
    except BadMedia:
        raise
    except MemoryError as error:
        raise bad(no_memory, f"the file needs more memory than is free ({_named(error)}); make it smaller") from error
    except Exception as error:
        raise bad(
            "truncated",
            f"the file is damaged, or {who} cannot read it ({_named(error)}); save it again, or use a whole copy",
        ) from error


def _named(error: Exception) -> str:
    text = str(error)[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Effort:
    """Limits the processor time that a loop over the parts of one file takes in this thread."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._end = seconds, time.thread_time() + seconds

    def check(self) -> None:
        """Raise BadMedia if the time is used up."""
        if time.thread_time() > self._end:
            raise BadMedia(
                "too_long",
                f"decoding the file takes more than {self._seconds:g} s of processor time; cut it or save it smaller",
                "max_decode_seconds",
            )
