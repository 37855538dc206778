"""The metrics of real services and jobs: each counts what has happened, and nothing else."""

import re
import threading

import httpx
import pytest
from helpers.metrics import families
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from services import classification, embedding
from services.embedding.backfills import Backfills
from services.jobs.backfill.plan import Progress
from services.settings import Settings
from services.web.metrics import ALARMING, Metrics


def read(text: str, name: str, **labels: str) -> float:
    """Return the value of a time series; 0 if there is none."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


class Gains:
    """What the metrics of a service gained since this object was made."""

    def __init__(self, url: str) -> None:
        self.url, self.before = url, httpx.get(f"{url}/metrics").text

    def __call__(self, name: str, **labels: str) -> float:
        return read(httpx.get(f"{self.url}/metrics").text, name, **labels) - read(self.before, name, **labels)


def test_a_request_counts_its_answers_batches_errors_and_processor_time(services, photos):
    gained = Gains(services.classification_url), Gains(services.embedding_url)
    files = [("images", (f"{i}.jpg", photo)) for i, photo in enumerate(photos[:3])]
    ask = f"{services.classification_url}/classify"
    assert httpx.post(f"{ask}?head=linear&head=gaussian", files=files, timeout=60).status_code == 200
    assert httpx.post(f"{ask}?head=nobody", files=files[:1]).status_code == 404
    assert httpx.post(f"{ask}?head=linear", headers={"Host": "evil.example"}).status_code == 421
    front, back = gained
    assert front("headwater_answers_total", head="linear") == front("headwater_answers_total", head="gaussian") == 3
    assert front("headwater_answers_total") == 6
    assert {code: front("headwater_request_errors_total", code=code) for code in ("unknown_head", "wrong_host")} == {
        "unknown_head": 1,
        "wrong_host": 1,
    }
    assert front("headwater_request_errors_total") == 2
    assert back("headwater_batch_items_sum", encoder="lite0") == 3
    assert 1 <= back("headwater_batch_items_count", encoder="lite0") <= 3
    assert back("process_cpu_seconds_total") > 0
    assert back("headwater_request_errors_total") == 0


def test_the_memory_under_way_is_shown_while_a_body_arrives(services):
    def body():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + b"x" * 100_000
        arrived.set()
        assert released.wait(20)

    form = {"Content-Type": "multipart/form-data; boundary=b"}
    arrived, released = threading.Event(), threading.Event()
    url, shown = services.embedding_url, []
    sender = threading.Thread(target=lambda: httpx.post(f"{url}/v1/embed", content=body(), headers=form, timeout=60))
    sender.start()
    assert arrived.wait(20)
    for _ in range(200):  # until the service has read what was sent
        text = httpx.get(f"{url}/metrics").text
        shown.append(read(text, "headwater_bytes_under_way"))
        if shown[-1] >= 100_000:
            break
    released.set()
    sender.join()
    assert 100_000 <= shown[-1] <= read(text, "headwater_bytes_under_way_limit") == Settings().max_bytes_under_way
    assert read(httpx.get(f"{url}/metrics").text, "headwater_bytes_under_way") == 0


def test_a_service_shows_which_of_its_encoders_are_loaded(services, tmp_path):
    text = httpx.get(f"{services.embedding_url}/metrics").text
    states = [read(text, "headwater_encoders", state=state) for state in ("configured", "loaded")]
    assert states == [2, 2]
    broken = embedding.create_app(Settings(store="", heads=tmp_path, encoders=("melstat", "nobody")))
    with TestClient(broken, base_url="http://localhost") as http:
        while not http.get("/health/ready").json()["failure"]:
            pass
        text = http.get("/metrics").text
    assert [read(text, "headwater_encoders", state=state) for state in ("configured", "loaded")] == [2, 1]


def test_a_backfill_counts_each_asset_once_although_its_progress_is_one_object_that_grows():
    metrics = Metrics()
    backfills = Backfills(1, metrics)

    def run(report):
        progress = Progress()
        for progress.done in (3, 5, 5):
            report(progress)
        progress.failures.counts["truncated"] += 2
        report(progress)
        return progress

    def fail(report):
        raise OSError("the disk is gone")

    for job in (run, fail):
        backfills.start("lite0", job)
        backfills._pool.submit(int).result(20)  # one thread: the job before has ended
    backfills.stop()
    text = metrics.render().decode()
    assert read(text, "headwater_backfill_rows_total", encoder="lite0", outcome="stored") == 5
    assert read(text, "headwater_backfill_rows_total", encoder="lite0", outcome="quarantined") == 2
    assert [read(text, "headwater_backfills_total", state=state) for state in ("done", "failed")] == [1, 1]


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_what_alerts_wait_for_is_zero_and_not_missing_at_the_start(service, tmp_path):
    app = service.create_app(Settings(store="", heads=tmp_path))
    text = app.state.service.metrics.render().decode()
    for code in ALARMING:
        assert f'headwater_request_errors_total{{code="{code}"}} 0.0' in text
    for state in ("done", "failed"):
        assert f'headwater_backfills_total{{state="{state}"}} 0.0' in text
    assert re.search(r'^headwater_build_info\{version="[^"]+"\} 1.0$', text, re.MULTILINE)
    machine = {name for name in families() if name.startswith(("process_", "python_"))}
    assert machine <= set(re.findall(r"^\w+", text, re.MULTILINE))
