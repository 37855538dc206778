"""Figures against scikit-learn's, and their edge cases."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from classifiers.evaluation.figures import evaluate, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.reports.report import Report, to_json, to_markdown
from classifiers.evaluation.trust import OutOfDistribution
from classifiers.heads.base import probabilities


def drawn(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, n_classes)) * 2
    codes = np.where(rng.random(n) < 0.6, scores.argmax(axis=1), rng.integers(0, n_classes, n))
    return probabilities(scores).astype(np.float32), codes


@pytest.mark.parametrize("sure", [1.0, np.nextafter(np.float32(1), np.float32(2))], ids=["1", "1 and a rounding error"])
def test_a_perfect_head_has_an_nll_of_zero_without_a_sign(sure):
    found = evaluate(np.array([[sure, 0], [0, sure]], np.float32), np.array([0, 1]), ["a", "b"])
    assert {str(each) for each in (found.nll, found.nll_uncalibrated)} == {"0.0"}
    assert found.overview()["NLL before → after temperature"] == "0.0000 → 0.0000"


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), n_classes=st.integers(2, 7))
def test_figures_are_those_of_scikit_learn(seed, n, n_classes):
    proba, codes = drawn(seed, n, n_classes)
    predicted, every = proba.argmax(axis=1), np.arange(n_classes)
    found = evaluate(proba, codes, [str(k) for k in every])
    assert found.accuracy == pytest.approx(accuracy_score(codes, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes that are predicted and do not occur
        assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(codes, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(codes, predicted, average="macro", zero_division=0))
    wide = proba.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    assert found.nll == pytest.approx(
        log_loss(codes, wide, labels=every), rel=1e-4, abs=1e-6
    )  # float32 near 1 has steps of 6e-8
    np.testing.assert_array_equal(found.confusion, confusion_matrix(codes, predicted, labels=every))
    reference = precision_recall_fscore_support(codes, predicted, labels=every, zero_division=0)
    for name, expected in zip(("precision", "recall", "f1", "support"), reference, strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, err_msg=name)


def test_calibration_error_by_hand():
    # Bin (11/15, 12/15]: two rows at 0.75, one right; bin (14/15, 1]: two rows at 1.0, both right.
    proba = np.array([[0.75, 0.25], [0.75, 0.25], [1.0, 0.0], [0.0, 1.0]])
    assert evaluate(proba, np.array([0, 1, 0, 1]), ["a", "b"]).ece == pytest.approx(0.5 * 0.25)


def test_calibration_error_of_honest_probabilities_is_small():
    rng = np.random.default_rng(0)
    proba = probabilities(rng.normal(size=(20000, 3)) * 2)
    codes = (rng.random((20000, 1)) > np.cumsum(proba, axis=1)).sum(axis=1).clip(max=2)
    assert evaluate(proba, codes, "abc").ece < 0.02


def test_interval_is_that_of_resampled_rows():
    proba, codes = drawn(1, 300, 3)
    found = evaluate(proba, codes, "abc", seed=5)
    right = proba.argmax(axis=1) == codes
    rng = np.random.default_rng(9)
    resampled = rng.choice(right, size=(4000, 300)).mean(axis=1)
    np.testing.assert_allclose(found.accuracy_interval, np.quantile(resampled, (0.025, 0.975)), atol=0.01)
    assert evaluate(proba, codes, "abc", seed=5).accuracy_interval == found.accuracy_interval
    low, high = found.accuracy_interval
    assert low < found.accuracy < high


def test_streamed_outcomes_give_the_same_figures():
    proba, codes = drawn(2, 200, 4)
    parts = [Outcomes.of(proba[i : i + 30], codes[i : i + 30]) for i in range(0, 200, 30)]
    streamed = summarise(Outcomes.concatenate(parts), "abcd")
    assert streamed.summary() == evaluate(proba, codes, "abcd").summary()


def test_a_class_held_impossible_costs_much_and_not_everything():
    found = evaluate(np.array([[1.0, 0.0], [1.0, 0.0]], np.float32), np.array([0, 1]), "ab")
    assert found.nll == pytest.approx(87.3 / 2, rel=0.01)


def test_no_rows_are_no_evaluation():
    with pytest.raises(ValueError, match="no rows"):
        evaluate(np.zeros((0, 3)), np.zeros(0, int), "abc")


def report_of(evaluations):
    return Report(
        "photos", "gaussian", ("lite0",), {"shrinkage": "oas"}, {}, {"train": 9}, 1.5, evaluations, (), ("Mind.",)
    )


def test_report_holds_every_figure_as_json():
    proba, codes = drawn(3, 100, 3)
    found = evaluate(proba, codes, ("cat", "dog", "pi|pe\nline"))
    content = json.loads(to_json(report_of({"test": found})))
    test = content["evaluations"]["test"]
    assert {key: test[key] for key in found.summary()} == found.summary()
    assert [each["support"] for each in test["per_class"]] == found.support.tolist()
    assert sum(count for _, _, count in test["confusion"]) == 100
    assert sum(each["rows"] for each in test["reliability"]) == 100
    assert test["reliability"][-1].keys() == {"low", "rows", "confidence", "accuracy"}
    assert test["risk_coverage"][-1]["answered"] == 1.0
    assert test["risk_coverage"][-1]["accuracy"] == pytest.approx(found.accuracy)
    assert content["ood"] is None
    assert content["temperature"] == 1.5
    assert content["notes"] == ["Mind."]


def test_nll_before_the_temperature_stands_beside_the_one_after():
    proba, codes = drawn(5, 80, 3)
    uncalibrated, _ = drawn(6, 80, 3)
    found = summarise(Outcomes.of(proba, codes, uncalibrated), "abc")
    assert found.nll_uncalibrated == pytest.approx(evaluate(uncalibrated, codes, "abc").nll)
    assert found.nll == evaluate(proba, codes, "abc").nll == evaluate(proba, codes, "abc").nll_uncalibrated
    assert f"{found.nll_uncalibrated:.4f} → {found.nll:.4f}" in to_markdown(report_of({"test": found}))


def test_the_report_says_how_well_out_of_distribution_rows_stand_out():
    ood = OutOfDistribution(7, "test", 90, {"max_probability": 0.61234, "outlier": 0.9}, {95: (0.5, 0.0625)})
    report = replace(report_of({}), ood=ood)
    assert json.loads(to_json(report))["ood"] == {
        "rows": 7,
        "against": "test",
        "against_rows": 90,
        "auroc": {"max_probability": 0.61234, "outlier": 0.9},
        "flagged": [{"max_outlier": 95, "ood": 0.5, "test": 0.0625}],
    }
    page = to_markdown(report)
    assert "7 rows of ood against 90 of test: AUROC 0.612 by probability, 0.900 by outlier score." in page
    assert "`max_outlier=95` turns away 50.0% of the out-of-distribution rows and 6.2% of test." in page


def test_report_as_markdown_keeps_its_tables_whole():
    proba, codes = drawn(3, 100, 3)
    found = evaluate(proba, codes, ("cat", "dog", "pi|pe\nline"))
    page = to_markdown(report_of({"val": found, "test": found}))
    assert "- Mind." in page
    assert f"| test | 100 | {found.accuracy:.4f} |" in page
    assert r"| pi\|pe line |" in page
    lows = [each for each in page.splitlines() if each.startswith("| 0.")]
    assert len(lows) == len(found.reliability.low) + len(found.selective.answered)


def test_a_report_without_figures_is_still_a_page():
    assert "photos" in to_markdown(report_of({}))
