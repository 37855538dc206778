"""The warm process that trains heads: it has imported training before the first request, and does one at a time."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any

from services.classification.jobs.process import environment, processors
from services.settings import Settings
from services.web.errors import LearningFailed, LearningTooSlow, RemoteProblem, Stopping

LOOK_SECONDS = 0.1
"""Time between two looks at whether the service is being stopped."""

_MODULE = f"{__package__.removesuffix('.classification.learn')}.cli.learner"


class _Process:
    """One process, which reads requests from its standard input and ends with it.

    Raises OSError if it cannot be started.

    Attributes:
        ready: True once it has imported training.
    """

    def __init__(self, settings: Settings) -> None:
        cpus = processors(settings, 0)
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", _MODULE, ",".join(map(str, cpus))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(settings, len(cpus)),
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C for the service is not one for this process
        )
        assert self._process.stdin is not None  # noqa: S101 - for mypy
        assert self._process.stdout is not None  # noqa: S101 - for mypy
        self._input, self.ready = self._process.stdin, False
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True, name="learner").start()

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it has ended: the end of its answers says so
            self._input.write(json.dumps(request) + "\n")
            self._input.flush()

    def answer(self, seconds: float) -> dict[str, Any] | None:
        """Return the next answer; None if the process has ended. Raises Empty after `seconds`."""
        return self._answers.get(timeout=seconds)

    def end(self) -> str:
        """End the process, and all that it started. Return how it ended."""
        with suppress(OSError):
            self._input.close()
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _read(self, lines: IO[str]) -> None:
        with suppress(OSError, ValueError), lines:
            for line in lines:
                if self.ready:
                    self._answers.put(json.loads(line))
                self.ready = True
        self._answers.put(None)


class WarmProcess:
    """The process that trains heads. It is started when it is needed, and again after it has ended.

    Args:
        stopping: returns True once the service is being stopped.
    """

    def __init__(self, settings: Settings, stopping: Callable[[], bool]) -> None:
        self._settings, self._stopping = settings, stopping
        self._lock = threading.Lock()
        self._process: _Process | None = None

    @property
    def ready(self) -> bool:
        """True if the process has imported training."""
        process = self._process
        return process is not None and process.ready and process.lives

    def start(self) -> _Process:
        """Start the process unless it lives. Raises LearningFailed, Stopping."""
        with self._lock:
            if self._stopping():
                raise Stopping
            if self._process is None or not self._process.lives:
                self._drop()
                try:
                    self._process = _Process(self._settings)
                except OSError as error:
                    raise LearningFailed(f"could not be started: {error.strerror or error}") from error
            return self._process

    def ask(self, request: Mapping[str, Any], deadline: float) -> dict[str, Any]:
        """Return the result of a request. One thread at a time may ask.

        Args:
            deadline: time of `time.monotonic` after which the process is ended.

        Raises LearningFailed, LearningTooSlow, Stopping; RemoteProblem for an error that the process answers.
        """
        process = self.start()
        process.send(request)
        while True:
            try:
                answer = process.answer(LOOK_SECONDS)
            except Empty:
                if self._stopping():
                    self.stop()
                    raise Stopping from None
                if time.monotonic() > deadline:
                    self.stop()
                    raise LearningTooSlow(self._settings.learn_seconds) from None
                continue
            if answer is None and self._stopping():
                raise Stopping
            if answer is None:
                raise LearningFailed(f"ended with {process.end()}")
            if error := answer.get("error"):
                raise RemoteProblem(error["status"], error["code"], error["message"])
            result: dict[str, Any] = answer["result"]
            return result

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None
