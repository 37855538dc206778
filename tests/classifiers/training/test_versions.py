"""Two versions of a head on the same rows: the counts are those of plain Python, whatever the heads read and know."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_label_toy, make_toy, spec_of

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from classifiers.training.versions import compare_versions
from store import Label, Store

N = 600
SPLITS = ["train"] * 360 + ["val"] * 60 + ["test"] * 180


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "db")


@pytest.fixture
def registry(tmp_path) -> Registry:
    return Registry(tmp_path / "heads")


def learned(store, registry, **asked):
    made = train(store, registry, **{"task": "toy", "encoders": ["toy"], "name": "h"} | asked)
    return registry.load(f"h@{made.version}")


def answers(head, X) -> list[str]:
    return [each.label for each in head.answer(X)]


def test_the_counts_are_those_of_the_answers_of_both(store, registry):
    toy = make_toy(n=N, spread=0.6)
    wrong = replace(toy, labels=toy.labels.copy())
    wrong.labels[:200] = np.roll(wrong.labels[:200], 1)
    ids = fill(store, wrong, splits=SPLITS)
    before = learned(store, registry)
    store.labels.put("toy", [Label(id_, [label]) for id_, label in zip(ids, toy.labels, strict=True)])
    now = learned(store, registry)
    found = compare_versions(store, "toy", before, now, store.snapshot())

    test = slice(420, N)
    old, new, truth = answers(before, toy.X[test]), answers(now, toy.X[test]), toy.labels[test].tolist()
    was, is_ = ([a == t for a, t in zip(given, truth, strict=True)] for given in (old, new))
    assert (found.split, found.rows) == ("test", 180)
    assert (found.right_before, found.right_now) == (sum(was), sum(is_))
    assert found.right_now > found.right_before  # the test is about something
    assert found.changed == sum(a != b for a, b in zip(old, new, strict=True))
    assert found.difference.mean == pytest.approx((sum(is_) - sum(was)) / 180)
    assert found.difference.low <= found.difference.mean <= found.difference.high
    named = list(zip(ids_of(N)[test], was, is_, strict=True))
    assert set(found.better) == {id_ for id_, a, b in named if b and not a}
    assert set(found.worse) == {id_ for id_, a, b in named if a and not b}


def test_a_version_compared_with_itself_differs_in_nothing(store, registry):
    fill(store, make_toy(n=N), splits=SPLITS)
    head = learned(store, registry)
    found = compare_versions(store, "toy", head, head, store.snapshot())
    assert (found.changed, found.better, found.worse) == (0, (), ())
    assert found.right_before == found.right_now
    assert (found.difference.mean, found.difference.low, found.difference.high) == (0, 0, 0)


def test_a_class_that_a_version_does_not_know_is_wrong_and_compared_by_name(store, registry):
    toy = make_toy(n=N, spread=4.0)
    fill(store, replace(toy, labels=np.where(toy.codes == 0, "class 1", toy.labels)), splits=SPLITS)
    before = learned(store, registry)
    store.labels.put("toy", [Label(id_, [label]) for id_, label in zip(ids_of(N), toy.labels, strict=True)])
    now = learned(store, registry)
    assert len(now.head.classes) == len(before.head.classes) + 1
    found = compare_versions(store, "toy", before, now, store.snapshot())
    new = int(np.count_nonzero(toy.codes[420:] == 0))
    assert (found.right_before, found.right_now) == (180 - new, 180)
    assert len(found.better) == found.changed == new > 0


def test_only_rows_with_the_vectors_of_both_count(store, registry):
    toy = make_toy(n=N)
    fill(store, toy, splits=SPLITS)
    few = store.ensure_features("few", spec_of(12, weights="few"), np.eye(2, 12, dtype=np.float32))
    few.put(ids_of(N)[:500], toy.X[:500])
    found = compare_versions(
        store, "toy", learned(store, registry), learned(store, registry, encoders=["few", "toy"]), store.snapshot()
    )
    assert (found.split, found.rows) == ("test", 80)


def test_validation_rows_stand_in_for_test_rows_and_without_both_there_is_no_comparison(store, registry):
    toy = make_toy(n=N)
    fill(store, toy, splits=["train"] * 500 + ["val"] * 100)
    head = learned(store, registry)
    found = compare_versions(store, "toy", head, head, store.snapshot())
    assert (found.split, found.rows) == ("val", 100)
    store.labels.remove("toy", ids_of(N)[500:])
    assert compare_versions(store, "toy", head, head, store.snapshot()) is None


def test_rows_with_any_number_of_labels_count_by_their_f1(store, registry):
    toy, ids = make_label_toy(n=N), ids_of(N)
    probe = np.eye(2, toy.X.shape[1], dtype=np.float32)
    store.ensure_features("toy", spec_of(toy.X.shape[1], weights="toy"), probe).put(ids, toy.X)

    def put(Y) -> None:
        rows = zip(ids, Y, SPLITS, strict=True)
        store.labels.put("toy", [Label(id_, list(np.array(toy.classes)[row]), split) for id_, row, split in rows])

    wrong = toy.Y.copy()
    wrong[:150] = np.roll(wrong[:150], 1, axis=1)
    put(wrong)
    before = learned(store, registry, kind="labelwise")
    put(toy.Y)
    now = learned(store, registry, kind="labelwise")
    found = compare_versions(store, "toy", before, now, store.snapshot())

    def f1(head) -> list[float]:
        given = [{label for label, _ in each.labels} for each in head.answer(toy.X[420:])]
        truth = [set(np.array(toy.classes)[row].tolist()) for row in toy.Y[420:]]
        sizes = [(len(a & t), len(a) + len(t)) for a, t in zip(given, truth, strict=True)]
        return [2 * both / size if size else 1.0 for both, size in sizes]

    old, new = f1(before), f1(now)
    assert (found.right_before, found.right_now) == (old.count(1.0), new.count(1.0))
    assert found.difference.mean == pytest.approx(np.mean(new) - np.mean(old))
    gains = dict(zip(ids[420:], np.subtract(new, old).tolist(), strict=True))
    assert set(found.better) == {id_ for id_, gain in gains.items() if gain > 0}
    assert found.better
    rises = [gains[id_] for id_ in found.better]
    assert rises == sorted(rises, reverse=True)
