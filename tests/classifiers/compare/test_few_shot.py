"""Few-shot curves: which rows heads learn from, what is measured, and the intervals."""

import numpy as np
import pytest
from helpers.toys import fill, ids_of, text_side, unit
from scipy import stats

from classifiers.compare.candidates import parse
from classifiers.compare.few_shot import MEANS, drawn, few_shot, point
from classifiers.errors import BadParameter, NotTrainable
from classifiers.training.rows.rows import Rows
from store import Label

TRIED = [MEANS, "gaussian norm=unit", "zeroshot blend=auto"]


def curves(store, lines=TRIED, task="toy", **changes):
    tried = [parse(line, ["toy"])[0] for line in lines]
    return few_shot(store, task, ["toy"], tried, **{"shots": (1, 4), "draws": 3, "texts": text_side, **changes})


def test_the_nearest_class_mean_of_each_draw_is_what_it_says(filled):
    """The heads of one row per class are computed here: the nearest row wins."""
    found = curves(filled, [MEANS], shots=[2], draws=2)
    rows = Rows(filled, "toy", ("toy",), filled.snapshot())
    test, expected = rows.matrix("test", rows.classes()), []
    for part in drawn(rows, rows.classes(), 2, 2, 0):
        few = part.matrix("train", rows.classes())
        assert np.bincount(few.codes).tolist() == [2] * 5
        assert not part.labelled("val").num_rows
        means = np.stack([unit(few.X[few.codes == k]).mean(axis=0) for k in range(5)])
        nearest = np.linalg.norm(unit(test.X)[:, None] - means, axis=2).argmin(axis=1)
        expected.append(float(np.mean(nearest == test.codes)))
    [curve] = found.curves.values()
    assert curve[0].draws == pytest.approx(expected)
    assert (found.split, found.held_out, found.rows) == ("test", len(test.ids), {2: 10})


def test_a_draw_with_more_rows_includes_the_smaller_one_and_a_class_has_at_most_its_rows(filled):
    rows = Rows(filled, "toy", ("toy",), filled.snapshot())
    small, large, every = (drawn(rows, rows.classes(), k, 2, 7) for k in (1, 4, 10_000))
    for a, b, c in zip(small, large, every, strict=True):
        ids = [set(part.labels["id"].to_pylist()) for part in (a, b, c)]
        assert ids[0] < ids[1] < ids[2]
        assert ids[2] == set(rows.labelled("train")["id"].to_pylist())
    assert small[0].labels != small[1].labels
    assert drawn(rows, rows.classes(), 4, 1, 7)[0].labels == large[0].labels


def test_a_head_that_cannot_learn_from_so_few_rows_has_no_point_and_a_reason(filled):
    found = curves(filled)
    gaussian, named = found.curves["gaussian norm=unit"], found.curves["zeroshot blend=auto"]
    assert [each.shots for each in gaussian] == [4]
    assert "there is no covariance" in found.reasons["gaussian norm=unit"]
    assert [each.shots for each in named] == [1, 4]
    assert set(found.best()) == {1, 4}
    best = found.best()[4]
    assert all(p.value <= found.curves[best][-1].value for each in found.curves.values() for p in each if p.shots == 4)


def test_the_interval_is_that_of_students_t():
    draws = [0.5, 0.6, 0.8]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(draws), scale=stats.sem(draws))
    found = point(4, draws)
    assert (found.value, found.low) == (pytest.approx(np.mean(draws)), pytest.approx(low))
    assert found.high == pytest.approx(min(1, high))
    alone = point(1, [0.7])
    assert (alone.low, alone.high) == (None, None)


def test_what_cannot_be_asked(filled, store, toy):
    with pytest.raises(BadParameter, match="at least 1"):
        curves(filled, shots=[0])
    with pytest.raises(BadParameter, match="labelwise"):
        curves(filled, ["labelwise"])
    fill(store, toy)
    ids = ids_of(600)
    store.labels.put("train only", [Label(ids[row], [toy.labels[row]], "train") for row in range(50)])
    with pytest.raises(NotTrainable, match="no row in split 'test' or 'val'"):
        curves(store, task="train only")
