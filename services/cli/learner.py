"""Trains heads for a service, one after the other: ``python -m services.cli.learner CPU,CPU``.

What training imports is imported once, which takes longer than most trainings. Each line of standard input is a
request, each line of standard output its answer, both JSON. The process ends with its standard input, at once: so it
never outlives the service that started it.
"""

import json
import logging
import os
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any

from services.cli.job import be_considerate

if TYPE_CHECKING:
    from services.settings import Settings

NICE = 5
"""Addition to the niceness of the process: whatever answers requests comes first, and jobs come last."""

READY = {"ready": True}
"""The first line of the output: from now on requests are answered at once."""

log = logging.getLogger("headwater.learn")


def run(cpus: set[int]) -> None:
    """Answer requests until the standard input ends."""
    be_considerate(cpus, NICE)
    requests: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True, name="requests").start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print is no answer
    # Imported here, because libraries count the processors when they are imported.
    import services.cli.commands.train
    import services.jobs.learn  # noqa: F401
    from services.settings import Settings
    from services.web import logs

    settings = Settings()
    logs.configure(settings.log_level)
    _write(answers, READY)
    while True:
        _write(answers, answer(json.loads(requests.get()), settings))


def answer(request: dict[str, Any], settings: "Settings") -> dict[str, Any]:
    """Return ``{"result"}``, or ``{"error": {"status", "code", "message"}}`` as a service answers it."""
    from classifiers.published.registry import Registry
    from services.jobs.learn import learn
    from services.web.errors import INTERNAL, status_and_code
    from services.web.schemas.learn import LearnRequest
    from store import Store
    from store.errors import disk_fault

    try:
        store = Store.open(settings.store, max_file_bytes=settings.max_file_bytes)
        asked = LearnRequest.model_validate(request)
        return {"result": learn(store, Registry(settings.heads), asked)}
    except Exception as error:
        fault = disk_fault(error.errno, str(error.filename)) if isinstance(error, OSError) else None
        status, code = status_and_code(fault or error)
        message = str(fault or error)
        if (status, code) == INTERNAL:
            log.exception("a head could not be trained", extra={"task": request.get("task")})
            message = "an internal error; the service's log has the details"
        return {"error": {"status": status, "code": code, "message": message}}


def _read(requests: "SimpleQueue[str]") -> None:
    with suppress(OSError):
        for line in sys.stdin:
            requests.put(line)
    os._exit(0)


def _write(answers: IO[str], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    run({int(cpu) for cpu in sys.argv[1].split(",")})
