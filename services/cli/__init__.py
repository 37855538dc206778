"""The command `headwater`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""

AGAIN = 0.05
"""Seconds until an interrupt is tried again that fell into an import."""


def main() -> None:
    """Run the command of `sys.argv`. Ctrl-C ends it in one line, even while modules are still being imported."""
    try:
        with _on_interrupt(_end):
            from services.cli.app import run
        with _on_interrupt(_raise_between_imports):
            run()
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
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(*_: object) -> None:
    """End the process: before the command has begun, there is nothing to clean up."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


def _raise_between_imports(_: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt. While a module is imported, wait: libraries swallow exceptions at this time."""
    if sys.platform != "win32" and _is_importing(frame):
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
