"""The command `headwater`."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""


def main() -> None:
    """Run the command of `sys.argv`. Ctrl-C ends it in one line, even while modules are still being imported."""
    try:
        with _ending_at_once():
            from services.cli.app import run

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
def _ending_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process without an exception: libraries swallow exceptions while they are imported.

    An interrupt that is ignored, as in the background of a shell script, stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os.write(2, b"stopped\n")
    os._exit(STOPPED)
