"""Jobs over HTTP: what is accepted, refused, shown, cancelled and followed."""

import json
import re
from datetime import datetime

import pytest
from helpers.jobs import ended, serving
from starlette.testclient import TestClient

from services.classification import create_app
from services.classification.jobs import routes
from services.jobs.recorded import Asked, Jobs
from services.web.access.keys import Role, make
from store import Store

MADE = {role.name: make(role.name, role) for role in Role}
LINES = tuple(key.line for _, key in MADE.values())
INGEST = {"kind": "ingest", "folder": ".", "task": "garments"}


def post(client: TestClient, **body):
    return client.post("/v1/jobs", json=body)


def error(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_job_waits_for_the_next_service_and_does_what_the_command_does(settings, queue):
    accepted = post(queue, **INGEST)
    assert (accepted.status_code, accepted.json()["state"], accepted.json()["position"]) == (202, "queued", 1)
    id_ = accepted.json()["id"]
    with serving(settings) as client:
        job = ended(client, id_)
        events = client.get(f"/v1/jobs/{id_}/events")
        metrics = client.get("/metrics").text
        assert error(client.get(f"/v1/jobs/{id_}/result")) == (409, "no_result")
        assert error(client.post(f"/v1/jobs/{id_}/cancel")) == (409, "job_ended")
    assert (job["state"], job["error"], job["position"]) == ("done", None, None), job
    assert job["request"] == INGEST | {
        "labels_file": None,
        "group": None,
        "on_conflict": "error",
        "modality": None,
        "reference": False,
    }
    assert {name: sum(counts.values()) for name, counts in job["result"]["classes"].items()} == {"hat": 2, "shoe": 2}
    assert {name: job["result"][name] for name in ("new_assets", "labelled", "quarantined")} == {
        "new_assets": 4,
        "labelled": 4,
        "quarantined": 0,
    }
    assert job["progress"]["done"] == 4
    times = [datetime.fromisoformat(job[name]) for name in ("created", "started", "ended")]
    assert times == sorted(times)
    assert Store.open(settings.store).labels.tasks() == {"garments": 4}
    [event] = re.findall(r"event: end\ndata: (.*)\n\n", events.text)
    assert json.loads(event)["state"] == "done"
    assert events.headers["content-type"].startswith("text/event-stream")
    assert 'headwater_jobs_total{state="done"} 1.0' in metrics


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"kind": "train", "task": "nothing", "name": "a"}, (404, "unknown_task")),
        ({"kind": "compare", "task": "nothing"}, (404, "unknown_task")),
        ({"kind": "backfill", "encoder": "lite9"}, (404, "unknown_encoder")),
        ({"kind": "backfill", "encoder": "openclip/ViT-B-32@/etc/passwd"}, (404, "unknown_encoder")),
        ({"kind": "predict", "head": "nothing"}, (404, "unknown_head")),
        ({"kind": "predict", "head": "../../etc"}, (404, "unknown_head")),
        ({"kind": "ingest", "folder": "/etc"}, (403, "folder_not_allowed")),
        ({"kind": "ingest", "folder": "../db"}, (403, "folder_not_allowed")),
        ({"kind": "ingest", "folder": ".", "task": "t", "labels_file": "/etc/passwd"}, (403, "folder_not_allowed")),
        ({"kind": "ingest", "folder": ".", "labels_file": "hat/0.png"}, (409, "not_offered")),
        ({"kind": "ingest", "folder": ".", "group": "camera"}, (409, "not_offered")),
        ({"kind": "train", "task": "t", "name": "../a"}, (422, "bad_request")),
        ({"kind": "train", "task": "t", "name": "a", "head_kind": "magic"}, (422, "bad_request")),
        ({"kind": "train", "task": "t", "name": "a", "parameters": {"a b": 1}}, (422, "bad_request")),
        ({"kind": "train", "task": "t", "name": "a", "parameters": {"C": {"x": 1}}}, (422, "bad_request")),
        ({"kind": "train", "tsk": "t", "name": "a"}, (422, "bad_request")),
        ({"kind": "serve"}, (422, "bad_request")),
        ({}, (422, "bad_request")),
    ],
    ids=lambda each: json.dumps(each)[:60],
)
def test_a_request_that_cannot_succeed_is_refused_at_once(queue, settings, body, answer):
    found = post(queue, **body)
    assert error(found) == answer, found.text
    assert not settings.jobs.exists()


def test_an_unknown_field_is_told_with_the_fields_of_that_kind_of_job(queue):
    message = post(queue, kind="train", task="t", name="a", head="linear").json()["error"]["message"]
    known = "encoders, head_kind, kind, name, parameters, seed, task"
    assert message == f"body.train.head: unknown field; did you mean 'head_kind'? known: {known}"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_numbers_that_are_none(queue, number):
    body = f'{{"kind": "train", "task": "t", "name": "a", "parameters": {{"C": {number}}}}}'
    assert error(queue.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"}))[0] == 422


def test_the_queue_has_an_end_and_shows_who_is_next(settings):
    few = settings.model_copy(update={"max_job_queue": 3})
    client = TestClient(create_app(few), base_url="http://localhost")
    ids = [post(client, **INGEST).json()["id"] for _ in range(3)]
    full = post(client, **INGEST)
    assert error(full) == (429, "queue_full")
    assert int(full.headers["retry-after"]) > 0
    assert "HEADWATER_MAX_JOB_QUEUE" in full.json()["error"]["message"]
    page = client.get("/v1/jobs", params={"start": 1, "limit": 1}).json()
    assert (page["count"], [job["id"] for job in page["jobs"]]) == (3, [ids[1]])
    cancelled = client.post(f"/v1/jobs/{ids[0]}/cancel").json()
    assert (cancelled["state"], cancelled["position"]) == ("cancelled", None)
    assert [job["position"] for job in client.get("/v1/jobs").json()["jobs"]] == [2, 1, None]
    assert post(client, **INGEST).status_code == 202


@pytest.mark.parametrize("id_", ["x", "..", "20260101T000000000000Z-aaaaaa", "%2e%2e%2fheads", "a" * 300])
def test_an_unknown_job_is_404_everywhere(queue, id_):
    for method, path in [("GET", ""), ("POST", "/cancel"), ("GET", "/events"), ("GET", "/result")]:
        assert queue.request(method, f"/v1/jobs/{id_}{path}").status_code == 404


def test_a_folder_that_cannot_be_written_is_said(settings, tmp_path):
    (tmp_path / "file").write_text("x")
    unusable = settings.model_copy(update={"jobs": tmp_path / "file" / "jobs"})
    client = TestClient(create_app(unusable), base_url="http://localhost")
    answer = post(client, **INGEST)
    assert error(answer) == (503, "jobs_unavailable")
    assert "HEADWATER_JOBS" in answer.json()["error"]["message"]
    assert client.get("/v1/jobs").json() == {"count": 0, "jobs": []}


def test_without_a_store_there_are_no_jobs(settings):
    client = TestClient(create_app(settings.model_copy(update={"store": ""})), base_url="http://localhost")
    assert error(post(client, **INGEST)) == (503, "store_unavailable")


def test_who_reads_sees_jobs_without_paths_and_starts_none(settings, photos):
    def client(role: str) -> TestClient:
        app = create_app(settings.model_copy(update={"keys": LINES}))
        return TestClient(app, base_url="http://localhost", headers={"Authorization": f"Bearer {MADE[role][0]}"})

    jobs = Jobs(settings.jobs)
    path = str(photos / "hat")
    with jobs.locked():
        job = jobs.add(
            lambda folder: Asked("ingest", {"folder": path}, ["ingest", path], settings.store, "h", [path], [path])
        )
    (job.folder / "log.txt").write_text(f"error: {path}/0.png is broken\n")
    (job.folder / "output.json").write_text(json.dumps({"warnings": [{"code": "table", "text": f"{path}/a.csv"}]}))
    jobs.end(job, "done", error=f"no {path}")
    for role in ("read", "write"):
        for url in ("/v1/jobs", f"/v1/jobs/{job.id}", f"/v1/jobs/{job.id}/events", f"/v1/jobs/{job.id}/result"):
            assert str(photos.parent) not in client(role).get(url).text, (role, url)
    shown = client("admin").get(f"/v1/jobs/{job.id}").json()
    assert shown["log"] == [f"error: {path}/0.png is broken"]
    assert error(post(client("read"), **INGEST)) == (403, "role_too_low")
    assert error(client("read").post(f"/v1/jobs/{job.id}/cancel")) == (403, "role_too_low")
    refused = post(client("write"), kind="ingest", folder="/etc")
    assert error(refused) == (403, "folder_not_allowed")
    assert str(photos.parent) not in refused.text
    assert post(client("write"), **INGEST).status_code == 202


def test_a_stream_of_events_ends_and_only_so_many_are_open(queue, monkeypatch):
    monkeypatch.setattr(routes, "FOLLOW_SECONDS", 0.2)
    monkeypatch.setattr(routes, "EVENT_SECONDS", 0.05)
    monkeypatch.setattr(routes, "SILENT_SECONDS", 0.1)
    url = f"/v1/jobs/{post(queue, **INGEST).json()['id']}/events"
    text = queue.get(url).text
    assert text.count("event: progress") == 1
    assert text.endswith(":\n\n")
    queue.app.state.service.jobs.followers = routes.MOST_FOLLOWERS
    assert error(queue.get(url)) == (503, "too_busy")


def test_the_file_of_a_job_is_saved_and_never_shown_as_a_page(queue, settings):
    jobs = Jobs(settings.jobs)
    with jobs.locked():
        job = jobs.add(lambda _: Asked("compare", {}, [], "", ""))
    url = f"/v1/jobs/{job.id}/result"
    assert error(queue.get(url)) == (409, "no_result")
    jobs.end(job, "done")
    assert error(queue.get(url)) == (409, "no_result")
    (job.folder / "files" / "t-1").mkdir(parents=True)
    (job.folder / "files" / "t-1" / "report.html").write_text("<script>1</script>")
    answer = queue.get(url)
    assert answer.text == "<script>1</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="report.html"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert queue.get(f"/v1/jobs/{job.id}").json()["file"] == "report.html"
