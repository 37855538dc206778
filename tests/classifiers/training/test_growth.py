"""Heads of parts of the training rows: which rows they learn from, and what they are measured on."""

from collections import Counter

import numpy as np
import pytest
from helpers.toys import fill, fill_labels, make_label_toy, make_toy
from sklearn.metrics import f1_score

from classifiers.errors import NotTrainable
from classifiers.published.registry import Registry
from classifiers.training.growth import DRAWS, grow, only, parts
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows
from store import Label

N = 400
SPLITS = ["train"] * 240 + ["val"] * 60 + ["test"] * 100


def published(store, tmp_path, toy=None, splits=SPLITS, **asked):
    fill(store, toy or make_toy(n=N, spread=0.6), splits=splits)
    registry = Registry(tmp_path / "heads")
    trained = train(store, registry, task="toy", encoders=["toy"], name="h", **asked)
    return registry.load("h"), trained


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_the_last_point_is_the_head_itself_on_its_own_test_rows(store, tmp_path, kind):
    head, trained = published(store, tmp_path, kind=kind)
    seen = []
    found = grow(store, head, on_head=lambda *step: seen.append(step))
    last = found.curve.points[-1]
    assert (last.rows, found.curve.held_out, found.split) == (240, 100, "test")
    assert last.value == pytest.approx(trained.report.summaries()["test"]["accuracy"])
    assert last.value > found.curve.points[0].value
    assert (found.figure, found.at_snapshot) == ("accuracy", True)
    assert seen == [(done, seen[-1][1]) for done in range(1, len(seen) + 1)]
    assert seen[-1][0] == seen[-1][1]
    assert found == grow(store, head)


def test_labels_given_since_do_not_change_the_curve_of_a_version(store, tmp_path):
    head, _ = published(store, tmp_path)
    before = grow(store, head)
    rows = store.labels.get("toy").to_pylist()
    store.labels.put("toy", [Label(row["id"], ["class 0"], row["split"]) for row in rows[:200]])
    assert grow(store, head) == before


def test_parts_contain_each_other_and_have_the_same_share_of_each_class(store):
    toy = make_toy(n=N)
    fill(store, toy, splits=SPLITS)
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    ids = rows.labelled("train")["id"].to_pylist()
    of = dict(zip(*(rows.labels[name].to_pylist() for name in ("id", "labels")), strict=True))
    whole = Counter(of[id_][0] for id_ in ids)
    found = parts(rows, ids, seed=3)
    assert len(found) == 4
    for draw in range(DRAWS):
        larger = frozenset(ids)
        for share, some in zip((2, 4, 8, 16), found, strict=True):
            assert some[draw] < larger
            assert Counter(of[id_][0] for id_ in some[draw]) == {name: -(-n // share) for name, n in whole.items()}
            larger = some[draw]
    assert len({some[0] for some in zip(*found, strict=True)}) == DRAWS
    assert found == parts(rows, ids[::-1], seed=3) != parts(rows, ids, seed=4)
    small = only(rows, found[0][0])
    assert set(small.labelled("train")["id"].to_pylist()) == found[0][0]
    assert small.labelled("test").num_rows == 100


def test_heads_with_any_number_of_labels_are_measured_by_f1(store, tmp_path):
    fill_labels(store, make_label_toy(n=N), splits=SPLITS)
    registry = Registry(tmp_path / "heads")
    train(store, registry, task="toy", encoders=["toy"], name="h", kind="labelwise")
    head = registry.load("h")
    found = grow(store, head)
    assert found.figure == "F1"
    held = Rows(store, "toy", ("toy",), store.snapshot()).labelled_rows("test", head.head.classes)
    Y = held.Y[held.Y.any(axis=1)]
    given = head.head.given(held.X[held.Y.any(axis=1)])
    expected = np.mean([f1_score(truth, own, zero_division=0) for truth, own in zip(Y, given, strict=True)])
    assert found.curve.points[-1].value == pytest.approx(expected)
    assert found.curve.points[0].value < expected


def test_without_test_rows_validation_rows_are_used_and_without_both_the_reason_is_named(store, tmp_path):
    head, _ = published(store, tmp_path, splits=["train"] * 300 + ["val"] * 100)
    assert grow(store, head).split == "val"
    fill(store, make_toy(n=N), task="all", splits=["train"] * N)
    registry = Registry(tmp_path / "heads")
    train(store, registry, task="all", encoders=["toy"], name="all")
    with pytest.raises(NotTrainable, match="no row in split 'test' or 'val'"):
        grow(store, registry.load("all"))


def test_a_head_of_about_a_row_for_each_class_has_no_curve(store, tmp_path):
    head, _ = published(store, tmp_path, make_toy(n=30), splits=["train"] * 6 + ["test"] * 24)
    with pytest.raises(NotTrainable, match="6 training rows, too few to leave half of them out"):
        grow(store, head)
