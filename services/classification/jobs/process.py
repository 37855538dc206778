"""The process of a job: a command in a child that has few processors and low priority, and ends with the service."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO

from services.jobs.recorded import LOG, OUTPUT, Job, append
from services.settings import Settings, variable

THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"),
)
"""Variables with which libraries are told their number of threads."""

SECRETS = ("keys", "key", "embedding_key")
"""Settings that no command of a job needs."""

PATIENCE = 5.0
"""Seconds beyond the grace period after which a process that was asked to stop is killed."""

_MODULE = f"{__package__.removesuffix('.classification.jobs')}.cli.job"


def processors(settings: Settings, slot: int) -> list[int]:
    """Return the processors of the job in a slot: the last ones, because a service is given the first ones.

    Where a process cannot be given processors, their number still counts.
    """
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    number = min(len(own), settings.job_threads or max(1, len(own) // 2))
    return sorted({own[-1 - (slot * number + i) % len(own)] for i in range(number)})


def environment(settings: Settings, threads: int) -> Mapping[str, str]:
    """Return the environment of a process that works for a service: settings without keys, and a number of threads."""
    no_secrets = dict.fromkeys(map(variable, SECRETS), "")
    return settings.environment() | no_secrets | dict.fromkeys(THREADS, str(threads))


class JobProcess:
    """The running process of one job.

    The process reads its standard input and stops when that ends: because `ask_to_stop` closes it, or because the
    service has died.

    Raises OSError if the process cannot be started.
    """

    def __init__(self, job: Job, settings: Settings, cpus: Sequence[int]) -> None:
        self.job, self.cpus, self._patience = job, cpus, settings.grace + PATIENCE
        self._kill_at = math.inf
        own = settings.model_copy(update={"store": job.asked.store, "heads": job.asked.heads})
        command = [sys.executable, "-m", _MODULE, str(job.folder), f"{settings.grace:g}", ",".join(map(str, cpus))]
        with (job.folder / OUTPUT).open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.PIPE,
                env=environment(own, len(cpus)),
                start_new_session=True,  # a Ctrl-C for the service is not one for the job
            )
        assert self._process.stderr is not None  # noqa: S101 - for mypy
        self._log = threading.Thread(target=self._keep_log, args=(self._process.stderr,), daemon=True, name="job-log")
        self._log.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def code(self) -> int | None:
        """Return the exit code; None while the process runs. Negative for the signal that ended it."""
        code = self._process.poll()
        if code is not None:
            self._end_input()
            self.kill()  # what it started and left behind
            self._log.join(timeout=1)
        return code

    @property
    def asked_to_stop(self) -> bool:
        return self._kill_at < math.inf

    def ask_to_stop(self) -> None:
        """Let the process stop as after Ctrl-C. It ends itself if that takes longer than the grace period.

        Call it again and again: a process that does not even do that is killed.
        """
        self._kill_at = min(self._kill_at, time.monotonic() + self._patience)
        self._end_input()
        if time.monotonic() > self._kill_at:
            self.kill()

    def kill(self) -> None:
        """End the process, and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended; kill it after `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def _end_input(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _keep_log(self, lines: IO[bytes]) -> None:
        """Write what the process prints to the log of the job, which stays small. A full disk loses lines only."""
        with lines:
            for line in lines:
                with contextlib.suppress(OSError):
                    append(self.job.folder / LOG, line)
