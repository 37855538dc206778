"""Search among the assets of a task, a label or a split, and the encoder that is chosen when none is named."""

import httpx
import numpy as np
import pytest
from helpers.commands import runner
from helpers.toystore import PROBE, make_vectors, toy_spec

from embedder.spec import imported_spec
from services.classification.search import Within, chosen
from services.web.errors import BadRequest
from store import Store
from store.errors import UnknownFeatures


def test_a_search_chooses_among_the_assets_of_a_task_a_label_and_a_split(services, home):
    url, [task, *_] = services.classification_url, home.store.labels.tasks()
    rows = home.store.labels.get(task).to_pylist()
    query, label = rows[0]["id"], rows[0]["labels"][0]
    X = dict(zip(*home.store.features("lite0").get([row["id"] for row in rows]), strict=True))
    cosine = {i: float(x @ X[query] / np.linalg.norm(x) / np.linalg.norm(X[query])) for i, x in X.items()}
    for within in ({"task": task}, {"task": task, "label": label}, {"task": task, "label": label, "split": "test"}):
        inside = {
            row["id"]
            for row in rows
            if within.get("label", label) in row["labels"] or "label" not in within
            if row["split"] == within.get("split", row["split"])
        } - {query}
        got = httpx.get(f"{url}/search", params={"id": query, "k": 7, **within}, timeout=60).json()
        wanted = sorted(inside & cosine.keys(), key=lambda i: -cosine[i])[:7]
        assert [hit["id"] for hit in got["hits"]] == wanted
        assert got["encoder"] == "lite0"
        assert "note" not in got


def test_an_image_and_a_text_are_searched_within_a_task_too(services, home, photos):
    url, [task, *_] = services.classification_url, home.store.labels.tasks()
    label = home.store.labels.get(task)["labels"][0].as_py()[0]
    inside = set(home.store.labels.ids(task, label=label).to_pylist())
    params = {"task": task, "label": label, "k": 5}
    image = httpx.post(f"{url}/search", params=params, files={"images": photos[0]}, timeout=60).json()
    text = httpx.get(f"{url}/search", params={**params, "text": "a broken cell"}, timeout=60).json()
    for got in (image, text):
        assert 0 < len(got["hits"]) <= 5
        assert {hit["id"] for hit in got["hits"]} <= inside
    assert "note" not in image
    assert "20 % find their photo among the first 10" in text["note"]


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"label": "x"}, 422, "bad_request"),
        ({"split": "test"}, 422, "bad_request"),
        ({"task": "none of these"}, 404, "unknown_task"),
        ({"task": "TASK", "split": "trian"}, 422, "bad_split"),
    ],
)
def test_a_wrong_choice_is_refused(services, home, params, status, code):
    task = next(iter(home.store.labels.tasks()))
    params = {name: task if value == "TASK" else value for name, value in params.items()}
    id_ = home.store.labels.get(task)["id"][0].as_py()
    got = httpx.get(f"{services.classification_url}/search", params={"id": id_, **params}, timeout=60)
    assert (got.status_code, got.json()["error"]["code"]) == (status, code)


def test_a_label_that_no_asset_has_finds_nothing(services, home):
    task = next(iter(home.store.labels.tasks()))
    id_ = home.store.labels.get(task)["id"][0].as_py()
    params = {"id": id_, "task": task, "label": "no such label"}
    assert httpx.get(f"{services.classification_url}/search", params=params, timeout=60).json()["hits"] == []


def test_the_command_takes_the_same_choice(services, home):
    run = runner({"HEADWATER_CLASSIFICATION_PORT": services.classification_url.rpartition(":")[2]})
    task = next(iter(home.store.labels.tasks()))
    out, _ = run("search", "--text", "a broken cell", "--task", task, "--split", "test", "-k", 3)
    assert "nearest by lite0" in out
    assert "note: the text side of lite0 is small" in out
    assert "--label and --split need --task" in run("search", "--text", "x", "--label", "y", code=2)[1]


def test_the_best_encoder_for_a_query(tmp_path):
    """Texts trained with images come before those of lite encoders, whatever the number of vectors."""
    store = Store.open(tmp_path / "db")
    with pytest.raises(UnknownFeatures, match="for text"):
        chosen(store, None, "text")
    for name, rows, spec in (
        ("lite0", 9, toy_spec("a", text="t")),
        ("openclip/a", 3, toy_spec("b", text="t")),
        ("openclip/b", 5, toy_spec("c", text="t")),
        ("dumb", 12, toy_spec("d")),
        ("own", 20, imported_spec("own", 8, source="s", schema="s")),
    ):
        store.ensure_features(name, spec, PROBE).put([f"{i}" for i in range(rows)], make_vectors(rows))
    best = {query: chosen(store, None, query).name for query in ("text", "image", "id")}
    assert best == {"text": "openclip/b", "image": "dumb", "id": "own"}
    assert chosen(store, "lite0", "text").name == "lite0"


def test_label_and_split_need_a_task():
    for within in (Within(label="x"), Within(split="test")):
        with pytest.raises(BadRequest, match="give task too"):
            within.require_task()
    Within("t", "x", "test").require_task()
