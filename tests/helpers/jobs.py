"""Services that run jobs, jobs that go on until they are stopped, and waiting for both."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from services.classification import create_app
from services.jobs.recorded import ENDED, Asked, Job, Jobs
from services.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url="http://localhost") as client:
        yield client


def until(found: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Return what `found` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def ended(client: TestClient, job_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return job if job["state"] in ENDED else None

    found: dict[str, Any] = until(look)
    return found


def lasting(jobs: Jobs, settings: Settings, photos: Path) -> Job:
    """Add a job whose command goes on until it is stopped: `watch`."""
    arguments = ["watch", "--encoder=melstat", "--every=0.2", "--", str(photos)]
    with jobs.locked():
        return jobs.add(lambda _: Asked("ingest", {}, arguments, settings.store, str(settings.heads)))


def works(job: Job) -> bool:
    """True if the command of a lasting job has begun its work."""
    return any(line.startswith("watching") for line in job.log(10))
