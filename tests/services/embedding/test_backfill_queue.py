"""Backfills over HTTP run one at a time; those that wait are bounded, and everybody sees their place in the queue."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from services.embedding.backfills import MOST_FINISHED, Backfills
from services.jobs.backfill.plan import Progress
from services.web.errors import BackfillsFull, UnknownBackfill
from services.web.metrics import Metrics


class Gate:
    """A backfill that runs until it is let through."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self, report: object) -> Progress:
        self.begun.set()
        assert self.open.wait(20)
        return Progress()


@pytest.fixture
def backfills() -> Iterator[Backfills]:
    made = Backfills(most_queued=2, metrics=Metrics())
    yield made
    made.stop()


def wait_for(backfills: Backfills, job_id: str, state: str) -> None:
    deadline = time.monotonic() + 20
    while backfills.status(job_id).state != state:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_place_in_the_queue_is_shown_and_moves_up(backfills):
    gates = [Gate() for _ in range(3)]
    first, second, third = (backfills.start("lite0", gate).id for gate in gates)
    assert gates[0].begun.wait(20)
    assert [(each.id, each.state, each.position) for each in backfills.all()] == [
        (first, "running", None),
        (second, "queued", 1),
        (third, "queued", 2),
    ]
    gates[0].open.set()
    assert gates[1].begun.wait(20)
    assert [each.state for each in backfills.all()] == ["done", "running", "queued"]
    assert backfills.status(third).position == 1
    for gate in gates:
        gate.open.set()
    wait_for(backfills, third, "done")


def test_no_more_are_queued_than_allowed_and_a_refused_one_never_runs(backfills):
    gates = [Gate() for _ in range(4)]
    accepted = [backfills.start("lite0", gate).id for gate in gates[:3]]
    with pytest.raises(BackfillsFull):
        backfills.start("lite0", gates[3])
    for gate in gates:
        gate.open.set()
    wait_for(backfills, accepted[-1], "done")
    assert not gates[3].begun.is_set()
    backfills.start("lite0", gates[3])


def test_the_oldest_finished_ones_are_forgotten(backfills):
    ids = []
    for _ in range(MOST_FINISHED + 5):
        ids.append(backfills.start("lite0", lambda report: Progress()).id)
        wait_for(backfills, ids[-1], "done")
    assert [each.id for each in backfills.all()] == ids[-MOST_FINISHED:]
    with pytest.raises(UnknownBackfill):
        backfills.status(ids[0])


def test_over_http_the_list_shows_what_was_accepted(services):
    url = f"{services.embedding_url}/v1/backfills"
    accepted = httpx.post(url, json={"encoder": "lite0"}, timeout=60).json()
    [listed] = [each for each in httpx.get(url).json()["backfills"] if each["id"] == accepted["id"]]
    assert listed["encoder"] == "lite0"
    assert listed["state"] in ("queued", "running", "done")
