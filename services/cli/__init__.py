"""The command `headwater`."""

import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""

AGAIN = 0.005
"""Seconds until an interrupt is tried again."""

NEW_OBJECTS = 10_000
"""New objects after which Python looks for cycles. Its own default, 700, makes imports of torch longer."""


def main(failed: Callable[[str], None] = lambda _: None) -> None:
    """Run the command of `sys.argv`. Ctrl-C ends it in one line, even while modules are still being imported.

    Args:
        failed: called with the message of an error that a user can mend.
    """
    gc.set_threshold(NEW_OBJECTS)
    try:
        with _on_interrupt(_end):
            from services.cli.app import run
        with _on_interrupt(_insist):
            run(failed)
    except KeyboardInterrupt:
        pass
    except SystemExit as end:
        if end.code != STOPPED:
            raise
    else:
        return
    print("stopped", file=sys.stderr)
    sys.exit(STOPPED)


@contextmanager
def _on_interrupt(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle Ctrl-C by `handle`. An interrupt that is ignored, as in the background of a script, stays ignored."""
    numbers = [signal.SIGINT, *([signal.SIGALRM] if sys.platform != "win32" else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGINT] is not signal.default_int_handler:
        yield
        return
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(*_: object) -> None:
    """End the process: before the command has begun, there is nothing to clean up."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


def _insist(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt again and again until it ends the command, because libraries may swallow it.

    They do so while they are imported: then it is not raised. While it unwinds the command, only another Ctrl-C raises
    it again.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if _is_importing(frame) or (number == signal.SIGALRM and _is_unwinding(sys.exception())):
            return
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)  # a call that is cut off here
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _is_unwinding(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
