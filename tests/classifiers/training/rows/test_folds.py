"""Folds: every row in one of them, labels spread evenly, and no group in two."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from helpers.toys import fill, make_toy
from hypothesis import given
from hypothesis import strategies as st

from classifiers.training.rows import rows as rows_module
from classifiers.training.rows.folds import dealt, rarest
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.task_rows import LEAST_VALIDATION
from store import Label

ROWS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), max_size=3, unique=True),
        st.sampled_from([None, "ann", "bob", "cy", "di", "ed"]),
    ),
    min_size=1,
    max_size=60,
)


def table(labels, groups=None):
    ids = [f"{i:064d}" for i in range(len(labels))]
    return pa.table(
        {
            "id": ids,
            "labels": pa.array(labels, pa.list_(pa.string())),
            "group": pa.array(groups or [None] * len(labels), pa.string()),
        }
    )


@given(ROWS, st.integers(1, 6))
def test_the_rows_of_a_label_are_spread_evenly_and_so_are_all_rows(rows, count):
    labels = [own for own, _ in rows]
    folds = dealt(table(labels), count)
    often = Counter(label for own in labels for label in own)
    first = [min(own, key=lambda label: (often[label], label)) if own else "" for own in labels]
    for name in {*first, None}:
        of_it = [fold for fold, own in zip(folds.tolist(), first, strict=True) if name in (None, own)]
        sizes = [of_it.count(fold) for fold in range(count)]
        assert max(sizes) - min(sizes) <= 1


@given(ROWS, st.integers(1, 6))
def test_no_group_is_in_two_folds_and_rows_without_a_group_are_alone(rows, count):
    folds = dealt(table([own for own, _ in rows], [group for _, group in rows]), count, "groups")
    found = {(group, fold) for (_, group), fold in zip(rows, folds.tolist(), strict=True) if group}
    assert len(found) == len({group for group, _ in found})
    alone = folds[[group is None for _, group in rows]]
    assert all(abs(np.count_nonzero(alone == fold) - len(alone) / count) < 1 for fold in range(count))
    assert set(folds.tolist()) <= set(range(count))


def test_groups_of_equal_size_fill_the_folds_and_share_out_the_classes():
    """10 groups: of each class, 5 groups have most rows. Every fold gets one group of each sort."""
    labels, groups = [], []
    for group in range(10):
        labels += [["ab"[group % 2]]] * 9 + [["ba"[group % 2]]]
        groups += [f"g{group}"] * 10
    folds = dealt(table(labels, groups), 5, "groups")
    for fold in range(5):
        own = Counter(labels[row][0] for row in np.flatnonzero(folds == fold))
        assert own == {"a": 10, "b": 10}


@given(ROWS, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    whole = table([own for own, _ in rows], [group for _, group in rows])
    order = list(range(len(rows)))
    random.shuffle(order)
    for by in ("rows", "groups"):
        np.testing.assert_array_equal(dealt(whole.take(order), 5, by), dealt(whole, 5, by)[order])


def test_the_rarest_label_of_each_row():
    labels = pa.array([["x", "y"], ["x"], [], ["y", "z", "x"], ["x"]], pa.list_(pa.string()))
    assert rarest(labels).tolist() == [2, 1, 0, 3, 1]
    assert rarest(pa.array([[], []], pa.list_(pa.string()))).tolist() == [0, 0]


def test_a_class_with_fewer_rows_than_folds_is_in_as_many_folds_as_it_has(store):
    toy = make_toy(n=103)
    labels = toy.labels.astype(object)
    labels[:3] = "rare"
    fill(store, type(toy)(toy.X, toy.codes, labels.astype(str), toy.classes), splits=["train"] * 103)
    views = Rows(store, "toy", ("toy",), store.snapshot()).validations()
    counts = [view.labelled("val")["labels"].to_pylist().count(["rare"]) for view in views]
    assert sorted(counts) == [0, 0, 1, 1, 1]
    assert [view.labelled("train").num_rows + view.labelled("val").num_rows for view in views] == [103] * 5


@pytest.mark.parametrize(
    ("training", "validation", "views"),
    [(400, LEAST_VALIDATION, 1), (400, LEAST_VALIDATION - 1, 5), (LEAST_VALIDATION - 1, 9, 1), (400, 0, 5), (19, 0, 0)],
)
def test_few_validation_rows_give_way_to_folds_of_more_training_rows(store, training, validation, views):
    toy = make_toy(n=training + validation)
    fill(store, toy, splits=["train"] * training + ["val"] * validation)
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    assert len(rows.validations()) == views
    assert rows.has_validation == (views == 1)


def test_validation_rows_of_unknown_classes_do_not_count(store):
    toy = make_toy(n=200)
    fill(store, toy, splits=["train"] * 140 + ["val"] * 60)
    ids = store.labels.get("toy").filter(pa.compute.field("split") == "val")["id"].to_pylist()
    store.labels.put("toy", [Label(id_, ["another"]) for id_ in ids])
    assert len(Rows(store, "toy", ("toy",), store.snapshot()).validations()) == 5


def test_whole_groups_are_held_out_where_they_are_known(store):
    toy = make_toy(n=120)
    ids = fill(store, toy, splits=["train"] * 120)
    store.labels.put(
        "toy",
        [Label(id_, [name], group="abc"[i % 3]) for i, (id_, name) in enumerate(zip(ids, toy.labels, strict=True))],
    )
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    held = [set(view.labelled("val")["group"].to_pylist()) for view in rows.validations()]
    assert sorted(map(sorted, held)) == [["a"], ["b"], ["c"]]
    assert len(rows.crossed("rows")) == 5


def test_a_held_out_fold_is_read_once_and_kept_if_it_is_small(store, monkeypatch):
    toy = make_toy(n=60)
    fill(store, toy, splits=["train"] * 60)
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    view, other = rows.validations()[0], rows.classes()[1:]
    kept = view.batches("val", rows.classes())
    assert view.batches("val", rows.classes()) is kept
    fewer = [codes for _, _, codes in view.batches("val", other)]
    np.testing.assert_array_equal(np.concatenate(fewer), np.concatenate([codes for _, _, codes in kept]) - 1)
    views = Rows(store, "toy", ("toy",), store.snapshot())
    assert sum(len(ids) for ids, _, _ in views.training(rows.classes())) == 60
    assert all(view._kept for view in views.validations())
    found = views.validations()[0].batches("val", rows.classes())
    assert [ids for ids, _, _ in found] == [ids for ids, _, _ in kept]
    monkeypatch.setattr(rows_module, "MOST_KEPT", 1)
    view.__dict__.pop("_keeps")
    again = view.batches("val", rows.classes())
    assert again is not view.batches("val", rows.classes())
    for (ids, X, codes), (others, Y, theirs) in zip(kept, again, strict=True):
        assert ids == others
        np.testing.assert_array_equal(X, Y)
        np.testing.assert_array_equal(codes, theirs)
