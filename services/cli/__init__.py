"""The command `headwater`."""

import sys

STOPPED = 130
"""Exit code of a command that Ctrl-C stopped."""


def main() -> None:
    """Run the command of `sys.argv`. Ctrl-C ends it in one line, even while modules are still being imported."""
    try:
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
