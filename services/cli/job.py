"""Runs a command as a job of a service: ``python -m services.cli.job FOLDER GRACE CPU,CPU``.

The folder has the command line (see `services.jobs.recorded`); progress and failure are written there. The process
takes few processors and low priority, and it stops, as after Ctrl-C, when its standard input ends: so a job never
outlives the service that started it.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from services.cli import STOPPED, main

NICE = 10
"""Addition to the niceness of the process: whatever answers requests comes first."""


def run(folder: Path, grace: float, cpus: set[int]) -> None:
    """Do the work of the job in `folder`."""
    be_considerate(cpus, NICE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the service may have been started with it ignored
    threading.Thread(target=_stop_at_end_of_input, args=(grace,), daemon=True, name="stop").start()
    try:
        _work(folder)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


def _work(folder: Path) -> None:
    # Imported here, because libraries count the processors when they are imported.
    from embedder.folders import try_lock
    from services.cli import terminal
    from services.jobs.links import link_out
    from services.jobs.recorded import ASKED, FILES, HELD, Asked, ProgressFile

    held = try_lock(folder / HELD)  # until the process ends
    if held is None:
        sys.exit("error: another process works on this job")
    asked = Asked(**json.loads((folder / ASKED).read_bytes()))
    within = [Path(each) for each in asked.within]
    if link := next(filter(None, (link_out(Path(each), within) for each in asked.reads)), None):
        message = f"the link {link} leads out of the folders that jobs may read; remove it, or allow its target too"
        _leave(folder, message)
        sys.exit(f"error: {message}")
    (folder / FILES).mkdir(exist_ok=True)
    terminal.followers.append(ProgressFile(folder))
    sys.argv = ["headwater", *asked.arguments]
    main(lambda message: _leave(folder, message))


def be_considerate(cpus: set[int], nice: int) -> None:
    """Take low priority and few processors. `nice` is added to the niceness of the process."""
    with suppress(OSError):  # refused, or the processors of the service were changed meanwhile
        if sys.platform != "win32":
            os.nice(nice)
        if sys.platform == "linux":
            os.sched_setaffinity(0, cpus)


def _stop_at_end_of_input(grace: float) -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    signal.raise_signal(signal.SIGINT) if sys.platform == "win32" else os.kill(os.getpid(), signal.SIGINT)
    time.sleep(grace)
    os._exit(STOPPED)


def _leave(folder: Path, message: str) -> None:
    """Leave the reason of a failure for whoever shows the job."""
    from services.jobs.recorded import FAILURE

    with suppress(OSError):
        (folder / FAILURE).write_text(json.dumps({"message": message}), encoding="utf-8")


if __name__ == "__main__":
    run(Path(sys.argv[1]), float(sys.argv[2]), {int(cpu) for cpu in sys.argv[3].split(",")})
