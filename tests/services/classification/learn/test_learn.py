"""GET and POST /v1/learn: a new version in a warm process, and everything that can keep it from being made."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.jobs import serving, until
from helpers.toys import fill, ids_of, make_toy
from starlette.testclient import TestClient

from classifiers.published.registry import Registry
from services.classification import create_app
from services.classification.jobs.process import SECRETS, THREADS
from services.classification.learn import service as learning
from services.processes import free_ports
from services.settings import Settings, variable
from services.web.access.keys import Role, make
from store import Label, Store

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="stops processes and reads /proc")
N = 300
LEARN = {"task": "toy", "name": "h"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("learn")
    store = Store.open(folder / "db")
    fill(store, make_toy(n=N), splits=["train"] * 180 + ["val"] * 60 + ["test"] * 60)
    store.labels.put("one class", [Label(id_, ["a"], "train") for id_ in ids_of(N)[:20]])
    return Settings(
        store=store.uri,
        heads=folder / "heads",
        jobs=folder / "jobs",
        embedding_port=1,
        grace=4.0,
        job_threads=1,
        log_level="ERROR",
    )


@pytest.fixture(scope="module")
def warm(settings) -> Iterator[TestClient]:
    with serving(settings) as client:
        until(lambda: client.get("/v1/learn").raise_for_status().json()["ready"])
        yield client


def process_of(client: TestClient) -> int:
    """Return the id of the process that trains."""
    pid: int = client.app.state.service.learning.process.start().pid
    return pid


def error(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def lives(pid: int) -> bool:
    """True if the process runs, and is not only listed because no parent has read its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[:1]
    except OSError:
        return False
    return state not in ([], [b"Z"])


def correct(settings: Settings, row: int, label: str) -> None:
    Store.open(settings.store).labels.put("toy", [Label(ids_of(N)[row], [label])])


def test_a_correction_becomes_a_version_that_is_compared_and_served(warm, settings):
    first = warm.post("/v1/learn", json=LEARN).raise_for_status().json()
    correct(settings, 0, "class 4")
    second = warm.post("/v1/learn", json=LEARN).raise_for_status().json()
    assert second["against"] == first["head"] != second["head"]
    assert set(second["figures"]) == {"val", "test"}
    assert 0 < second["seconds"] < 60
    compared = second["comparison"]
    assert (compared["split"], compared["rows"]) == ("test", 60)
    assert compared["interval"][0] <= compared["difference"] <= compared["interval"][1]
    assert {*compared["became_right"], *compared["became_wrong"]} <= set(ids_of(N))
    answered = warm.post("/classify", json={"ids": ids_of(N)[-3:], "head": second["head"]}).raise_for_status().json()
    assert {f"h@{each['version']}" for item in answered["items"] for each in item["answers"]} == {second["head"]}
    manifest = warm.get("/heads/h").raise_for_status().json()
    assert f"h@{manifest['version']}" == second["head"]
    current = next(task for task in warm.get("/v1/learn").json()["tasks"] if task["name"] == "toy")["current"]
    assert current == {"name": "h", "version": manifest["version"], "kind": "gaussian", "encoders": ["toy"]}
    assert warm.get("/heads/h/report").json()["version"] == manifest["version"]


def test_what_can_be_learned(warm):
    tasks = {task["name"]: task for task in warm.get("/v1/learn").raise_for_status().json()["tasks"]}
    assert tasks["toy"]["encoders"] == ["toy"]
    assert tasks["toy"]["kinds"][0] == "gaussian"
    assert (tasks["one class"]["encoders"], tasks["one class"]["current"]) == ([], None)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"task": "nothing"}, (404, "unknown_task")),
        ({"encoder": "nothing"}, (404, "unknown_encoder")),
        ({"name": "new", "against": "production"}, (404, "unknown_head")),
        ({"name": "../h"}, (422, "bad_request")),
        ({"name": "new", "task": "one class"}, (409, "not_trainable")),
        ({"name": "new", "kind": "labelwise", "encoder": "toy", "task": "one class"}, (409, "not_trainable")),
        ({"kind": "zeroshot"}, (422, "bad_request")),
        ({"parameters": {}}, (422, "bad_request")),
    ],
    ids=str,
)
def test_a_request_that_cannot_succeed_is_an_error_and_no_version(warm, settings, changes, answer):
    before = len(list(settings.heads.glob("*/*Z-*")))
    found = warm.post("/v1/learn", json=LEARN | changes)
    assert error(found) == answer, found.text
    assert len(list(settings.heads.glob("*/*Z-*"))) == before


@LINUX
@pytest.mark.slow
def test_a_process_that_is_killed_is_one_clear_error_and_the_next_request_works(warm):
    answers: list[httpx.Response] = []
    pid = process_of(warm)
    os.kill(pid, signal.SIGSTOP)  # so that it is at work when it is killed
    asking = threading.Thread(target=lambda: answers.append(warm.post("/v1/learn", json=LEARN)))
    asking.start()
    until(lambda: warm.app.state.service.learning._turn.locked())
    os.kill(pid, signal.SIGKILL)
    asking.join(timeout=30)
    assert error(answers[0]) == (503, "learning_failed")
    assert "signal 9" in answers[0].json()["error"]["message"]
    assert warm.post("/v1/learn", json=LEARN).status_code == 200
    os.kill(process_of(warm), signal.SIGKILL)  # while it does nothing: nobody notices
    until(lambda: not warm.app.state.service.learning.process.ready)
    assert warm.post("/v1/learn", json=LEARN).status_code == 200


def test_one_trains_and_another_waits_only_so_long(settings):
    with serving(settings.model_copy(update={"learn_seconds": 0.2})) as client:
        turn = client.app.state.service.learning._turn
        client.portal.call(turn.acquire)
        answer = client.post("/v1/learn", json=LEARN)
        client.portal.call(turn.release)
    assert error(answer) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) > 0


@LINUX
def test_a_training_that_takes_too_long_is_ended_and_so_is_one_of_a_service_that_stops(settings):
    with serving(settings.model_copy(update={"learn_seconds": 0.5})) as client:
        pid = process_of(client)
        os.kill(pid, signal.SIGSTOP)
        answer = client.post("/v1/learn", json=LEARN)
        assert error(answer) == (409, "not_offered")
        assert "HEADWATER_LEARN_SECONDS" in answer.json()["error"]["message"]
        until(lambda: not lives(pid))
    with serving(settings) as client:
        pid = process_of(client)
        os.kill(pid, signal.SIGSTOP)
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(client.post("/v1/learn", json=LEARN)))
        asking.start()
        until(lambda: client.app.state.service.learning._turn.locked())
        client.app.state.service.admission.stopping = True
        asking.join(timeout=10)
        assert error(answers[0]) == (503, "stopping")
        until(lambda: not lives(pid))


@LINUX
def test_the_process_takes_few_processors_and_no_secret_and_ends_with_the_service(settings):
    _, key = make("me", Role.admin)
    with serving(settings.model_copy(update={"keys": (key.line,)})) as client:
        pid = process_of(client)
        until(lambda: len(os.sched_getaffinity(pid)) == 1)
        environment = dict(each.partition(b"=")[::2] for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    assert {environment[name.encode()] for name in THREADS} == {b"1"}
    assert {environment[variable(name).encode()] for name in SECRETS} == {b""}
    until(lambda: not lives(pid))


def test_without_what_training_needs_the_answer_names_it(settings, monkeypatch, tmp_path):
    client = TestClient(create_app(settings), base_url="http://localhost")
    monkeypatch.setattr(learning, "find_spec", lambda _: None)
    for answer in (client.get("/v1/learn"), client.post("/v1/learn", json=LEARN)):
        assert error(answer) == (503, "jobs_unavailable")
        assert "pip install 'headwater[train]'" in answer.json()["error"]["message"]
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    nowhere = settings.model_copy(update={"heads": tmp_path / "file" / "heads"})
    answer = TestClient(create_app(nowhere), base_url="http://localhost").post("/v1/learn", json=LEARN)
    assert error(answer) == (503, "jobs_unavailable")
    assert "cannot be written" in answer.json()["error"]["message"]
    empty = settings.model_copy(update={"store": str(tmp_path / "db"), "heads": tmp_path / "heads"})
    with serving(empty) as client:
        assert client.get("/v1/learn").json()["tasks"] == []
        assert error(client.post("/v1/learn", json=LEARN)) == (404, "unknown_task")
    bare = settings.model_copy(update={"store": ""})
    answer = TestClient(create_app(bare), base_url="http://localhost").post("/v1/learn", json=LEARN)
    assert error(answer) == (503, "store_unavailable")


@pytest.fixture
def alone(settings, tmp_path) -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    """A service in a process group of its own with a process that is ready to train: (service, id of that, its log)."""
    [port] = free_ports(1)
    log, own = tmp_path / "log", settings.model_copy(update={"classification_port": port})
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    with log.open("wb") as lines:
        service = subprocess.Popen(command, env=own.environment(), stderr=lines, stdout=lines, start_new_session=True)
    try:
        until(lambda: _ready(port))
        children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
        tasks = [each.read_text().split() for each in Path(f"/proc/{service.pid}/task").glob("*/children")]
        [pid] = {int(each) for some in [children, *tasks] for each in some}
        yield service, pid, log
    finally:
        service.kill()
        service.wait()


def _ready(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/v1/learn").json()["ready"])
    except httpx.HTTPError:
        return False


@LINUX
@pytest.mark.slow
def test_a_killed_service_leaves_no_process(alone):
    service, pid, _ = alone
    assert lives(pid)
    service.kill()
    service.wait()
    until(lambda: not lives(pid), seconds=10)


@LINUX
@pytest.mark.slow
def test_ctrl_c_ends_both_at_once_without_a_traceback(alone):
    service, pid, log = alone
    os.killpg(service.pid, signal.SIGINT)
    service.wait(timeout=10)
    until(lambda: not lives(pid), seconds=1)
    assert "Traceback" not in log.read_text()


def test_the_registry_has_only_whole_versions(warm, settings):
    """Whatever was killed above."""
    heads, refused = Registry(settings.heads).load_all()
    assert warm.get("/heads").json()["refused"] == refused == {}
    assert "h" in heads
