"""Prediction sets keep their coverage even if a parameter of the head is chosen on the rows that calibrate the sets."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from classifiers.compare.held import HeldRows
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.evaluation.choice import MOST_ROWS
from classifiers.evaluation.conformal import NONCONFORMITY, SETS, threshold
from classifiers.fit.gaussian.shrinkage import CANDIDATES
from classifiers.training.calibrate import calibrate
from classifiers.training.kinds import CLASS_KINDS, make_estimator
from classifiers.training.learning import linear, mixture
from classifiers.training.learning.zero_shot import STRENGTHS
from classifiers.training.rows.scored import Scored
from store import Matrix, Snapshot

NAMES, DIM, TRAINING, TESTING = ("a", "b", "c"), 30, 24, 400
ROWS, COVERAGE = 19, 0.9
"""Sets of this coverage, calibrated on so many rows that the head has not seen, contain 18 / 20 of the true classes."""
SNAPSHOT = Snapshot(datetime.now(UTC), {})


class DrawnRows(HeldRows):
    """Drawn rows, without a store."""

    def edges(self):
        return (0, DIM)

    def require_texts(self):
        return self.texts

    def embed_texts(self, texts):
        return self.texts("", texts)


class World:
    """Classes with heavy tails (t, 4 degrees of freedom), of unequal sizes and with unequal spread."""

    def __init__(self, seed):
        self.rng = rng = np.random.default_rng(seed)
        self.mixing = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] * np.geomspace(2.0, 0.15, DIM)[:, None]
        self.means = 0.6 * rng.normal(size=(3, DIM)) @ self.mixing + 0.12 * rng.normal(size=(3, DIM))
        self.text = (self.means + 0.3 * rng.normal(size=(3, DIM))).astype(np.float32)  # of the classes' names
        self.spread = np.exp(0.25 * rng.normal(size=3))

    def draw(self, count):
        codes = self.rng.choice(3, size=count, p=(0.5, 0.3, 0.2))
        tails = self.spread[codes] * np.sqrt(4 / self.rng.chisquare(4, size=count))
        noise = tails[:, None] * (self.rng.normal(size=(count, DIM)) @ self.mixing)
        return (self.means[codes] + noise).astype(np.float32), codes

    def rows(self, count):
        """Training rows, and `count` validation rows."""
        (X, codes), (V, val) = self.draw(TRAINING), self.draw(count)
        codes[:3] = np.arange(3)
        X[:3] = self.means
        held, tables = {}, []
        for split, vectors, of in (("train", X, codes), ("val", V, val)):
            ids, labels = [f"{split} {i}" for i in range(len(of))], pa.array([[NAMES[k]] for k in of])
            blocks = {"toy": slice(0, DIM)}
            held[split] = Matrix("toy", ids, vectors, labels, NAMES, np.full(len(of), split), blocks, {}, SNAPSHOT, 0)
            tables.append(pa.table({"id": ids, "labels": labels, "split": [split] * len(of)}))
        texts = lambda _, names: self.text[[NAMES.index(name) for name in names]]  # noqa: E731
        store: Any = None
        return DrawnRows(store, "toy", ("toy",), SNAPSHOT, table=pa.concat_tables(tables), texts=texts, held=held)


def learned(kind, rows, params):
    params = params | ({"prompts": ["{}"], "bank_weight": 0} if kind == "zeroshot" else {})
    return CLASS_KINDS[kind].learned(make_estimator(kind, params), rows)


def covered(kind, rows, X, codes, params):
    """Return the share of test rows whose set contains the true class, for each nonconformity score."""
    found = learned(kind, rows, params)
    head, _, conformal = calibrate(found.head, found.validated)
    proba = head.predict_proba(X)
    first = proba == proba.max(axis=1, keepdims=True)
    limits = [threshold(kept, conformal.rows, COVERAGE) for kept in (conformal.lac, conformal.aps)]
    inside = [first | (NONCONFORMITY[name](proba) <= limit) for name, limit in zip(SETS, limits, strict=True)]
    return [each[np.arange(len(codes)), codes].mean() for each in inside]


def lost(kind, given, draws, chosen=None):
    """Mean loss of coverage if a parameter is chosen instead of given, by kind of set, and its standard error."""
    apart = []
    for seed in range(draws):
        world = World(seed)
        rows, test = world.rows(ROWS), world.draw(TESTING)
        apart.append(np.subtract(covered(kind, rows, *test, given), covered(kind, rows, *test, chosen or {})))
    return np.mean(apart, axis=0), np.std(apart, axis=0, ddof=1) / np.sqrt(draws)


def test_a_chosen_shrinkage_costs_no_coverage():
    loss, error = lost("gaussian", {"shrinkage": 0.3}, 120)
    assert (error < 0.005).all()
    assert (loss < 0.012).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "given", "chosen"),
    [
        ("gaussian", {"shrinkage": 0.3}, {}),
        ("zeroshot", {"blend": 0.1, "shrinkage": 0.3}, {"blend": "auto"}),
    ],
)
def test_chosen_parameters_cost_no_coverage(kind, given, chosen):
    loss, error = lost(kind, given, 1500, chosen)
    assert (error < 0.002).all()
    assert (loss < 0.004).all()


CLOSED_FORM = {"shrinkage": 0.5, "power": 0.25, "C": 0}
GIVEN = {
    "gaussian": [{"shrinkage": each} for each in ("oas", *CANDIDATES)],
    "linear": [{"C": each} for each in (1e-3, 1e-2, 1e-1)],
    "mixture": [{"components": each, **CLOSED_FORM} for each in (1, 4)],
    "zeroshot": [{"shrinkage": 0.3, "blend": each} for each in STRENGTHS],
}
CHOSEN = {"mixture": {"components": "auto", **CLOSED_FORM}, "zeroshot": {"shrinkage": 0.3, "blend": "auto"}}


def relative(scores):
    return scores - scores.max(axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", sorted(GIVEN))
def test_a_row_is_calibrated_by_what_is_best_on_the_other_rows(kind, monkeypatch):
    """Brute force: the choice is made again for each row, on the others, at the temperatures of all rows."""
    monkeypatch.setattr(linear, "PENALTIES", (1e-3, 1e-2, 1e-1))  # of more, the last may be left out
    monkeypatch.setitem(mixture.GRID, "components", (1, 4))
    others = ~np.eye(ROWS, dtype=bool)
    for seed in range(20):  # until the rows do not agree
        rows = World(seed).rows(ROWS)
        val = rows.held["val"]
        scores = [learned(kind, rows, params).head.scores(val.X).astype(np.float64) for params in GIVEN[kind]]
        scales = [each.std() if kind == "zeroshot" else 1.0 for each in scores]
        temperatures = [c * fit_temperature(each / c, val.codes) for each, c in zip(scores, scales, strict=True)]
        every = list(zip(scores, temperatures, strict=True))
        nll = [[mean_nll(S[rest], val.codes[rest], T) for S, T in every] for rest in (..., *others)]
        whole, *best = np.argmin(nll, axis=1).tolist()
        if set(best) != {whole}:
            break
    else:
        pytest.fail("no row changes the choice")
    [found] = learned(kind, rows, CHOSEN.get(kind, {})).validated
    np.testing.assert_array_equal(found.truth, val.codes)
    expected = np.stack([relative(scores[k][row] / temperatures[k]) for row, k in enumerate(best)])
    np.testing.assert_allclose(relative(found.scores / temperatures[whole]), expected, rtol=0.02, atol=0.02)


def test_many_rows_are_calibrated_by_the_scores_of_the_head():
    rows = World(0).rows(MOST_ROWS + 1)
    found, val = learned("gaussian", rows, {}), rows.held["val"]
    np.testing.assert_array_equal(Scored.concatenate(found.validated).scores, found.head.scores(val.X))


def test_a_head_for_which_the_text_alone_is_best_can_be_calibrated():
    for seed in range(40):
        found = learned("zeroshot", World(seed).rows(ROWS), {"blend": "auto", "shrinkage": 0.3})
        if found.head.settings()["blend"] == 0:
            break
    head, _, conformal = calibrate(found.head, found.validated)
    assert head.settings()["blend"] == 0
    assert head.knows_texts
    assert conformal.rows == ROWS


@pytest.mark.parametrize("kind", ["gaussian", "linear", "zeroshot"])
def test_a_class_without_a_training_vector_changes_nothing(kind):
    for seed in range(20):  # until a row changes the choice, so that there are scores
        rows = World(seed).rows(ROWS)
        expected, own = learned(kind, rows, CHOSEN.get(kind, {})), rows.held["val"]
        [before] = expected.validated
        if not np.array_equal(before.scores, expected.head.scores(own.X)):
            break
    more = pa.table({"id": ["x"], "labels": pa.array([["aa"]]), "split": ["train"]})
    found = learned(kind, replace(rows, table=pa.concat_tables([rows.labels, more])), CHOSEN.get(kind, {}))
    assert found.asked == ("a", "aa", "b", "c")
    assert found.head.classes == NAMES
    [after] = found.validated
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(after.truth, before.truth)
