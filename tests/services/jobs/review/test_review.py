"""The three reviews of a store: near-duplicates, mistakes, suggestions."""

import json
from datetime import timedelta

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from helpers.toys import fill, fill_labels, ids_of, make_label_toy, make_toy, text_side, unit

from classifiers.published.registry import Registry
from classifiers.training.learning.tuning import AUTO
from classifiers.training.out_of_fold import settled_estimator
from classifiers.training.pipeline import train
from services.jobs.errors import AllLabelled, NothingToReview, OutputExists
from services.jobs.review import directions
from services.jobs.review.duplicates import find_duplicates
from services.jobs.review.mistakes import find_mistakes
from services.jobs.review.output import save
from services.jobs.review.suggest import suggest_first, suggest_for_head
from store import Label, Store
from store.errors import UnknownFeatures, UnknownTask

N = 500
IDS = ids_of(N)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "db")


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path / "heads")


def doubled(store: Store, splits=None):
    """500 rows of which the last 20 are copies of the first 20; the first 5 copies have another label."""
    toy = make_toy(n=N, dim=24, spread=0.5)
    toy.X[-20:] = toy.X[:20] * 2
    toy.labels[-20:] = toy.labels[:20]
    toy.labels[-20:-15] = ["other"] * 5
    splits = splits or ["train"] * 480 + ["test"] * 5 + ["train"] * 15
    fill(store, toy, splits=splits)
    return toy


@pytest.mark.parametrize("in_memory", [1 << 30, 0])
def test_duplicates_come_by_kind_in_groups_and_from_disk_as_from_memory(store, monkeypatch, in_memory):
    monkeypatch.setattr(directions, "IN_MEMORY", in_memory)
    splits = ["train"] * 480 + ["train"] * 10 + ["test"] * 10
    toy = doubled(store, splits)
    found = find_duplicates(store, "toy", "toy")
    rows = found.table.to_pylist()
    cosines = np.triu(unit(toy.X.astype(np.float64)) @ unit(toy.X.astype(np.float64)).T >= found.threshold, 1)
    wanted = {frozenset((IDS[a], IDS[b])) for a, b in zip(*np.nonzero(cosines), strict=True)}
    assert {frozenset((row["id_a"], row["id_b"])) for row in rows} == wanted
    assert len(wanted) == 20
    assert [row["kind"] for row in rows] == ["across splits"] * 10 + ["different labels"] * 5 + ["same"] * 5
    assert (found.leaked, found.groups, found.grouped, found.largest) == (10, 20, 40, 2)
    assert sorted({row["group"] for row in rows}) == list(range(1, 21))
    first = rows[0]
    assert {first["split_a"], first["split_b"]} == {"train", "test"}
    assert found.summary()["held_out_rows_with_one_in_train"] == 10
    alone = find_duplicates(store, "toy", None, found.threshold)
    assert (alone.table.num_rows, set(alone.table["kind"].to_pylist()), alone.proposed) == (20, {"same"}, False)
    assert alone.table["labels_a"].null_count == 20


def test_what_cannot_be_compared_is_refused_or_counted(store):
    with pytest.raises(UnknownFeatures):
        find_duplicates(store, "toy")
    toy = make_toy(n=60)
    toy.X[7] = 0
    fill(store, toy)
    with pytest.raises(UnknownTask):
        find_duplicates(store, "toy", "nobody")
    assert (find_duplicates(store, "toy").rows, find_duplicates(store, "toy").without_vector) == (59, 1)
    store.labels.put("elsewhere", [Label("f" * 64, ["x"]), Label(IDS[0], ["y"])])
    with pytest.raises(NothingToReview, match="1 assets of task 'elsewhere' have a vector"):
        find_duplicates(store, "toy", "elsewhere")


def flipped(store: Store, registry: Registry, kind: str, **params):
    """A head that learned from labels of which every 20th is wrong; the wrong ids."""
    toy = make_toy(n=N, dim=12)
    wrong = range(0, N, 20)
    toy.labels[wrong] = [toy.classes[(code + 1) % 5] for code in toy.codes[wrong]]
    splits = (["train"] * 3 + ["val", "test"]) * (N // 5)
    fill(store, toy, splits=splits)
    train(store, registry, task="toy", encoders=["toy"], kind=kind, name="h", params=params, texts=text_side)
    return registry.load("h"), {IDS[row] for row in wrong}, toy


FAST = ["gaussian", "linear", "zeroshot"]


@pytest.mark.parametrize("kind", FAST)
def test_flipped_labels_of_training_rows_come_first(store, registry, kind):
    head, wrong, toy = flipped(store, registry, kind, **({"blend": 0.3} if kind == "zeroshot" else {}))
    found = find_mistakes(store, head, texts=text_side)
    first = found.table.slice(0, len(wrong)).to_pylist()
    assert len({row["id"] for row in first} & wrong) >= 0.7 * len(wrong)
    assert (found.judged, found.unjudged, found.removed, found.at_snapshot) == (N, 0, 0, True)
    for row in first:
        by = {"train": "other folds", "val": "head", "test": "head"}
        assert row["judged_by"] == by[row["split"]]
        if row["id"] in wrong:
            truth = toy.classes[toy.codes[IDS.index(row["id"])]]
            assert row["labels"] != row["head_labels"] == [truth]
    assert found.summary()["likely_wrong"] == sum(found.table["likely_wrong"].to_pylist()) > 10


def test_a_corrected_row_and_a_removed_row_are_not_listed_again(store, registry):
    head, wrong, _ = flipped(store, registry, "gaussian")
    before = find_mistakes(store, head).table.to_pylist()
    corrected = [row for row in before if row["id"] in wrong][:5]
    store.labels.put("toy", [Label(row["id"], row["head_labels"]) for row in corrected])
    gone = [row["id"] for row in before if row["id"] in wrong and row["split"] == "train"][5:8]
    store.labels.remove("toy", gone)
    after = find_mistakes(store, head)
    listed = {row["id"]: row for row in after.table.to_pylist()}
    assert not {row["id"] for row in corrected} & set(listed)
    assert not set(gone) & set(listed)
    assert (after.removed, after.judged) == (3, N - 3)
    same = [row for row in before if row["id"] in listed]
    assert all(listed[row["id"]]["probability"] == row["probability"] for row in same)  # judged at the old snapshot
    store.labels.put("toy", [Label(IDS[1], ["a new class"])])
    assert find_mistakes(store, head).unjudged == 1


def test_a_head_whose_versions_are_gone_is_judged_on_the_rows_of_today(store, registry):
    head, wrong, _ = flipped(store, registry, "gaussian")
    store.labels.put("toy", [Label(IDS[1], ["class 0"])])
    store.optimize(keep=timedelta(0))
    found = find_mistakes(store, head)
    assert not found.at_snapshot
    assert len({row["id"] for row in found.table.slice(0, len(wrong)).to_pylist()} & wrong) >= 0.7 * len(wrong)


def test_any_number_of_labels(store, registry):
    toy = make_label_toy(n=N)
    shown = toy.Y.copy()
    shown[::25, 3] ^= True
    fill_labels(store, type(toy)(toy.X, shown, toy.classes))
    train(store, registry, task="toy", encoders=["toy"], kind="labelwise", name="h")
    found = find_mistakes(store, registry.load("h"))
    first = found.table.slice(0, 20).to_pylist()
    wrong = {IDS[row] for row in range(0, N, 25)}
    assert len({row["id"] for row in first} & wrong) >= 12
    for row in first:
        if row["id"] in wrong:
            assert ("d" in row["head_labels"]) == toy.Y[IDS.index(row["id"]), 3] != ("d" in row["labels"])


@pytest.mark.parametrize(
    "kind",
    ["gaussian", "linear", "zeroshot", *(pytest.param(each, marks=pytest.mark.slow) for each in ("mixture", "fusion"))],
)
def test_no_fold_chooses_a_parameter_that_training_chose(store, registry, kind):
    fill(store, make_toy(n=200), splits=(["train"] * 4 + ["test"]) * 40)
    params = {"blend": AUTO} if kind == "zeroshot" else {}
    train(store, registry, task="toy", encoders=["toy"], kind=kind, name="h", params=params, texts=text_side)
    assert AUTO not in settled_estimator(registry.load("h")).get_params().values()


def test_suggestions_are_unlabelled_and_the_head_says_how_sure_it_is(store, registry):
    toy = make_toy(n=N, spread=0.6)
    fill(store, toy, splits=["train"] * 450 + ["test"] * 50)
    store.labels.remove("toy", IDS[100:450])
    train(store, registry, task="toy", encoders=["toy"], name="h")
    head = registry.load("h")
    found = suggest_for_head(store, head, 25)
    rows = found.table.to_pylist()
    assert {row["id"] for row in rows} <= set(IDS[100:450])
    assert (len({row["id"] for row in rows}), found.unlabelled, found.looked_at, found.labelled) == (25, 350, 350, 150)
    for row in rows:
        ranked = np.sort(head.head.predict_proba(toy.X[[IDS.index(row["id"])]])[0])
        assert row["uncertainty"] == pytest.approx(1 - (ranked[-1] - ranked[-2]), abs=1e-4)
        assert row["probability"] == pytest.approx(ranked[-1], abs=1e-4)
    margins = np.sort(head.head.predict_proba(toy.X[100:450]), axis=1)
    assert np.mean([row["uncertainty"] for row in rows]) > np.mean(1 - (margins[:, -1] - margins[:, -2]))
    assert suggest_for_head(store, head, 25).table == found.table
    first = suggest_first(store, "toy", "a new task", 10)
    assert (first.table.num_rows, first.unlabelled, first.labelled) == (10, N, 0)
    assert first.table["head_labels"].null_count == 10
    assert len(set(toy.codes[[IDS.index(id_) for id_ in first.table["id"].to_pylist()]].tolist())) >= 4
    store.labels.put("full", [Label(id_, ["x"]) for id_ in IDS])
    with pytest.raises(UnknownFeatures):
        suggest_first(store, "nobody", "full", 10)
    with pytest.raises(AllLabelled, match="none of the 500 assets with a vector lacks a label in task 'full'"):
        suggest_first(store, "toy", "full", 10)


def test_a_file_says_what_the_table_says_and_is_replaced_only_on_demand(store, tmp_path):
    doubled(store)
    table = find_duplicates(store, "toy", "toy").table
    for ending in ("parquet", "csv", "jsonl"):
        save(table, tmp_path / f"d.{ending}")
        with pytest.raises(OutputExists):
            save(table, tmp_path / f"d.{ending}")
        save(table, tmp_path / f"d.{ending}", overwrite=True)
    assert pq.read_table(tmp_path / "d.parquet").to_pylist() == table.to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [line["id_a"] for line in lines] == table["id_a"].to_pylist()
    flat = pa_csv.read_csv(tmp_path / "d.csv").to_pylist()
    assert [row["labels_b"].split("|") for row in flat] == table["labels_b"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv", "d.jsonl", "d.parquet", "db"]
