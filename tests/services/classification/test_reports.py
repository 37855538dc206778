"""GET /heads/{name}/report: the report of a version, found by version or alias, without paths of the server."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import fill, make_toy
from starlette.testclient import TestClient

from classifiers.published.head import PublishedHead
from classifiers.published.manifest import TrainingRecord
from classifiers.published.registry import Registry
from classifiers.training.pipeline import Trained, train
from services.classification import create_app
from services.settings import Settings
from services.web.access.keys import Role, make
from store import Store

ENCODER = "openclip/ViT-B-32@/srv/models/weights.pt"
LABEL = "/m/01g317"
SECRET, KEY = make("me", Role.admin)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("reports")
    return Settings(store=str(folder / "db"), heads=folder / "heads", jobs=folder / "jobs", embedding_port=1)


@pytest.fixture(scope="module")
def versions(settings) -> list[Trained]:
    """Two versions of a head that reads an encoder whose name has a path."""
    toy = make_toy()
    toy = replace(toy, labels=np.where(toy.codes == 0, LABEL, toy.labels))
    store, registry = Store.open(settings.store), Registry(settings.heads)
    fill(store, toy, encoder=ENCODER)
    asked = {"task": "toy", "encoders": [ENCODER], "name": "h"}
    made = [train(store, registry, **asked, params=params) for params in ({}, {"covariance": "diag"})]
    registry.promote("h", "production", made[0].version)
    return made


@pytest.fixture(scope="module")
def client(settings, versions) -> TestClient:
    return TestClient(create_app(settings), base_url="http://localhost")


def report(client: TestClient, **query: str) -> dict:
    return client.get("/heads/h/report", params=query).raise_for_status().json()


def test_the_report_of_a_version_is_found_by_version_and_alias(client, versions):
    first, second = versions
    latest = report(client)
    assert latest == report(client, version="latest") == report(client, version=second.version)
    assert (latest["name"], latest["version"], latest["aliases"]) == ("h", second.version, ["latest"])
    before = report(client, version="production")
    assert before == report(client, version=first.version)
    assert (before["version"], before["aliases"]) == (first.version, ["production"])
    written = json.loads((first.path / "report.json").read_text())
    assert before["evaluations"] == written["evaluations"]
    assert before["rows"] == written["rows"]
    assert before.keys() == written.keys() | {"name", "version", "aliases"}


def test_no_role_sees_a_path_of_the_server(settings, versions):
    behind = TestClient(create_app(settings.model_copy(update={"keys": (KEY.line,)})), base_url="http://localhost")
    found = behind.get("/heads/h/report", headers={"Authorization": f"Bearer {SECRET}"}).raise_for_status()
    assert "/srv" in (versions[1].path / "report.json").read_text()
    assert "/srv" not in found.text
    assert LABEL in {each["class"] for each in found.json()["evaluations"]["val"]["per_class"]}
    assert found.json()["encoders"] == ["openclip/ViT-B-32@…/weights.pt"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/heads/nothing/report", "unknown_head"),
        ("/heads/h/report?version=nothing", "unknown_alias"),
        ("/heads/h/report?version=../../db", "unknown_alias"),
        ("/heads/h/report?version=20200101T000000000Z-000000000000", "unknown_version"),
        ("/heads/..%2fdb/report", "not_found"),
    ],
)
def test_what_is_not_there_is_404(client, path, code):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code), answer.text


def test_a_head_without_a_report_and_one_whose_report_was_changed(settings, versions, client):
    registry = Registry(settings.heads)
    published: PublishedHead = registry.load("h")
    record = TrainingRecord(**published.manifest.model_dump(include=set(TrainingRecord.model_fields)))
    bare = registry.publish("bare", published.head, record.model_copy(update={"outlier": ()}))
    answer = client.get("/heads/bare/report")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_report")
    assert bare in answer.json()["error"]["message"]
    changed = train(Store.open(settings.store), registry, task="toy", encoders=[ENCODER], name="changed")
    (changed.path / "report.json").write_text("{}")
    answer = client.get("/heads/changed/report")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "bad_head")
