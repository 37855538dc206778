"""Learning again: what a request leaves out is that of the latest version, and the result compares the two."""

from typing import get_args

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_label_toy, make_toy, spec_of

from classifiers.errors import NotTrainable, UnknownVersion
from classifiers.published.registry import Registry
from classifiers.training.kinds import KINDS
from classifiers.training.pipeline import train
from services.jobs.learn import learn
from services.jobs.learnable import targets, with_vectors
from services.web.errors import NotOffered
from services.web.schemas.learn import LEARNABLE, LearnKind, LearnRequest
from store import Label, Store

N = 300


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store.open(tmp_path / "db")
    fill(store, make_toy(n=N), splits=["train"] * 180 + ["val"] * 60 + ["test"] * 60)
    return store


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path / "heads")


def learned(store, registry, **asked):
    return learn(store, registry, LearnRequest(**{"task": "toy", "name": "h"} | asked))


def correct(store, row: int, label: str) -> None:
    store.labels.put("toy", [Label(ids_of(N)[row], [label])])


def test_the_first_version_has_nothing_to_be_compared_with(store, registry):
    found = learned(store, registry)
    head = registry.load(found["head"])
    assert (head.manifest.kind, [each.name for each in head.manifest.encoders]) == ("gaussian", ["toy"])
    assert (found["against"], found["comparison"], found["warnings"]) == (None, None, [])
    assert found["figures"] == head.manifest.model_dump(mode="json")["metrics"]


def test_the_next_version_has_the_settings_of_the_latest_one(store, registry):
    params = {"covariance": "diag", "norm": "unit", "shrinkage": 0.25}
    first = train(store, registry, task="toy", encoders=["toy"], name="h", params=params)
    correct(store, 0, "class 4")
    found = learned(store, registry)
    before, now = registry.load(f"h@{first.version}"), registry.load(found["head"])
    assert now.version != before.version
    assert now.manifest.parameters == before.manifest.parameters
    assert found["against"] == f"h@{first.version}"
    assert (found["comparison"]["split"], found["comparison"]["rows"]) == ("test", 60)
    other = registry.load(learned(store, registry, kind="linear")["head"])
    assert other.manifest.kind == "linear"
    assert "covariance" not in other.manifest.parameters


def test_against_names_a_version_or_an_alias(store, registry):
    first = learned(store, registry)["head"]
    registry.promote("h", "production", first.partition("@")[2])
    for label in ("class 4", "class 3"):
        correct(store, 0, label)
        learned(store, registry)
    assert learned(store, registry, against="production")["against"] == first
    with pytest.raises(UnknownVersion):
        learned(store, registry, against="20200101T000000000Z-000000000000")


def test_a_head_of_another_task_is_compared_but_lends_no_settings(store, registry):
    train(store, registry, task="toy", encoders=["toy"], name="h", params={"covariance": "diag"})
    store.labels.put("other", [Label(id_, [f"class {row % 2}"], "train") for row, id_ in enumerate(ids_of(N)[:200])])
    store.labels.put("other", [Label(id_, ["class 0"], "test") for id_ in ids_of(N)[200:220]])
    found = learned(store, registry, task="other")
    assert registry.load(found["head"]).manifest.parameters["covariance"] == "tied"
    assert found["comparison"]["rows"] == 20


def test_a_damaged_version_before_is_a_warning_and_lends_no_settings(store, registry):
    first = train(store, registry, task="toy", encoders=["toy"], name="h")
    (first.path / "head.safetensors").write_bytes(b"")
    correct(store, 0, "class 4")
    found = learned(store, registry)
    assert found["comparison"] is None
    assert "the version before cannot be read" in found["warnings"][0]


def test_vectors_of_the_version_before_that_are_gone_are_a_warning(store, registry):
    few = store.ensure_features("few", spec_of(12, weights="few"), np.eye(2, 12, dtype=np.float32))
    few.put(ids_of(N)[:200], make_toy(n=N).X[:200])
    learned(store, registry, encoder="few")
    store.database.drop(few.table.name)
    found = learned(store, registry, encoder="toy")
    assert found["comparison"] is None
    assert "not compared with version" in found["warnings"][-1]


def test_rows_with_any_number_of_labels_get_a_head_for_them(store, registry):
    toy = make_label_toy(n=N)
    rows = zip(ids_of(N), toy.Y, strict=True)
    store.labels.put("looks", [Label(id_, np.array(toy.classes)[row].tolist()) for id_, row in rows])
    found = learned(store, registry, task="looks")
    assert registry.load(found["head"]).manifest.kind == "labelwise"
    with pytest.raises(NotTrainable, match="several labels"):
        learned(store, registry, task="looks", kind="gaussian")


def test_a_kind_that_embeds_texts_is_left_to_a_job(store, registry):
    from helpers.toys import text_side

    train(store, registry, task="toy", encoders=["toy"], name="h", kind="zeroshot", texts=text_side)
    with pytest.raises(NotOffered, match="zeroshot is trained by a job"):
        learned(store, registry)
    assert learned(store, registry, kind="gaussian")["comparison"]["rows"] == 60


@pytest.mark.slow
def test_every_kind_that_is_offered_trains_on_one_encoder(store, registry):
    for kind in LEARNABLE["one"]:
        assert registry.load(learned(store, registry, kind=kind)["head"]).manifest.kind == kind


def test_the_kinds_fit_the_number_of_labels_of_a_row():
    assert {kind for kinds in LEARNABLE.values() for kind in kinds} == set(get_args(LearnKind))
    assert all(KINDS[kind].targets == number for number, kinds in LEARNABLE.items() for kind in kinds)


def test_only_encoders_with_vectors_of_two_labels_count_and_those_with_most_rows_come_first(store):
    toy = make_toy(n=N)
    for name, rows in (
        ("all of one", np.flatnonzero(toy.codes == 1)),
        ("held out", np.arange(180, N)),
        ("b", np.arange(20)),
    ):
        features = store.ensure_features(name, spec_of(12, weights=name), np.eye(2, 12, dtype=np.float32))
        features.put([ids_of(N)[row] for row in rows], toy.X[rows])
    rows = store.labels.get("toy")
    assert targets(rows) == "one"
    assert [each.name for each in with_vectors(store, rows)] == ["toy", "b"]


def test_a_task_without_vectors_says_what_is_missing(tmp_path, registry):
    store = Store.open(tmp_path / "empty")
    store.labels.put("toy", [Label(id_, [f"class {row % 2}"], "train") for row, id_ in enumerate(ids_of(30))])
    with pytest.raises(NotTrainable, match="no encoder has vectors"):
        learned(store, registry)
