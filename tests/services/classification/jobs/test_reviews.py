"""Jobs that look through a whole store: near-duplicates, mistakes, suggestions, clusters. Each makes a file of ids."""

import json

import pytest
from helpers.jobs import ended, serving
from helpers.toys import fill, ids_of, make_toy
from starlette.testclient import TestClient

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from services.classification import create_app
from services.settings import Settings
from store import Asset, Store
from store.schema import NO_FILE

N, UNLABELLED = 300, 40


@pytest.fixture(scope="module")
def looked_through(tmp_path_factory) -> Settings:
    """Settings of a store with toy vectors, of which 10 have a wrong label and the last none, and of a head."""
    folder = tmp_path_factory.mktemp("reviews")
    toy = make_toy(n=N, dim=24, spread=1.0)
    toy.X[240:246] = toy.X[:6]
    toy.labels[240:246] = toy.labels[:6]
    toy.labels[20:30] = [toy.classes[(code + 1) % 5] for code in toy.codes[20:30]]
    store = Store.open(folder / "headwater.db")
    store.assets.add(
        Asset(id_, f"{folder}/photos/{row}.jpg", NO_FILE, "image/jpeg") for row, id_ in enumerate(ids_of(N))
    )
    fill(store, toy, splits=["train"] * 180 + ["val"] * 60 + ["test"] * 60)
    train(store, Registry(folder / "heads"), task="toy", encoders=["toy"], name="h")
    store.labels.remove("toy", ids_of(N)[-UNLABELLED:])
    return Settings(
        store=store.uri,
        heads=folder / "heads",
        jobs=folder / "jobs",
        clusters=folder / "clusters",
        embedding_port=1,
        log_level="ERROR",
    )


@pytest.mark.parametrize(
    ("body", "result", "columns"),
    [
        pytest.param(
            {"kind": "duplicates", "encoder": "toy", "task": "toy", "threshold": 0.999},
            {"pairs": 6, "across_splits": 6, "threshold": 0.999},
            {"id_a", "id_b", "path_a", "path_b", "cosine", "kind", "split_a", "labels_b"},
            marks=pytest.mark.slow,
        ),
        ({"kind": "mistakes", "head": "h"}, {"task": "toy", "judged": N - UNLABELLED}, {"id", "labels", "head_labels"}),
        pytest.param(
            {"kind": "suggest", "head": "h", "count": 7},
            {"suggested": 7, "unlabelled": UNLABELLED},
            {"id", "head_labels", "uncertainty"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"kind": "suggest", "task": "something new", "encoder": "toy", "count": 3},
            {"suggested": 3, "unlabelled": N, "labelled": 0},
            {"id", "path"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"kind": "cluster", "task": "found", "encoder": "toy", "clusters": 4, "nearest": 1, "against": "toy"},
            {"clusters": 4, "rows": N, "against": "toy"},
            {"id", "path", "labels", "split"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["duplicates", "mistakes", "suggest", "suggest first", "cluster"],
)
def test_a_review_makes_a_file_of_ids_without_folders_of_the_server(looked_through, body, result, columns):
    with serving(looked_through) as client:
        started = client.post("/v1/jobs", json=body)
        assert started.status_code == 202, started.text
        job = ended(client, started.json()["id"])
        assert (job["state"], job["error"]) == ("done", None), job
        answer = client.get(f"/v1/jobs/{job['id']}/result")
    assert {name: job["result"][name] for name in result} == result
    assert job["file"].endswith(".jsonl")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows
    for row in rows:
        assert columns <= row.keys()
        assert {row[name] for name in ("id", "id_a", "id_b") if name in row} <= set(ids_of(N))
        assert all(row[name].startswith("…/") for name in row if name.startswith("path"))
    assert str(looked_through.heads.parent) not in answer.text


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"kind": "suggest"}, (409, "not_offered")),
        ({"kind": "suggest", "head": "nothing"}, (404, "unknown_head")),
        ({"kind": "suggest", "task": "new", "encoder": "nothing"}, (404, "unknown_encoder")),
        ({"kind": "suggest", "head": "h", "where": "1 = 1"}, (422, "bad_request")),
        ({"kind": "suggest", "head": "h", "count": 0}, (422, "bad_request")),
        ({"kind": "mistakes", "head": "h", "task": "nothing"}, (404, "unknown_task")),
        ({"kind": "mistakes"}, (422, "bad_request")),
        ({"kind": "duplicates", "encoder": "toy", "task": "nothing"}, (404, "unknown_task")),
        ({"kind": "duplicates", "encoder": "toy", "threshold": 1.5}, (422, "bad_request")),
        ({"kind": "cluster", "task": "../c", "encoder": "toy"}, (422, "bad_request")),
        ({"kind": "cluster", "task": "c", "encoder": "toy", "against": "nothing"}, (404, "unknown_task")),
        ({"kind": "cluster", "task": "c", "encoder": "toy", "rows_of": "nothing"}, (404, "unknown_task")),
    ],
    ids=str,
)
def test_a_review_that_cannot_succeed_is_refused_at_once(looked_through, body, answer, tmp_path):
    unused = looked_through.model_copy(update={"jobs": tmp_path / "jobs"})
    found = TestClient(create_app(unused), base_url="http://localhost").post("/v1/jobs", json=body)
    assert (found.status_code, found.json()["error"]["code"]) == answer, found.text
    assert not unused.jobs.exists()
