"""The arithmetic of the quality studies: intervals, draws, labels, and outcomes that are kept and read again."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import labels
from benchmarks.quality.fusion import dealt
from benchmarks.quality.gaussians import compared
from benchmarks.quality.report import page
from benchmarks.quality.study import Finding, Outcome, Study, Table
from benchmarks.quality.vectors import paired_interval


def test_a_paired_interval_is_that_of_resampled_rows():
    rng = np.random.default_rng(1)
    better, worse = rng.random(200) < 0.8, rng.random(200) < 0.6
    apart, low, high = paired_interval(better, worse)
    rows = rng.integers(0, 200, (4000, 200))
    drawn = (better[rows].astype(float) - worse[rows]).mean(axis=1)
    assert apart == pytest.approx(better.mean() - worse.mean())
    assert (low, high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)).tolist(), abs=0.015)


def test_a_verdict_is_unsure_while_its_interval_holds_the_limit():
    rng = np.random.default_rng(0)
    other = rng.random(1000) < 0.9
    few, many = other.copy(), other.copy()
    few[np.flatnonzero(other)[:6]] = False
    many[np.flatnonzero(other)[:100]] = False
    found = [compared("c", "w", {"a": a, "b": other}, "a", "b", 0.005) for a in (other, few, many)]
    assert [f.holds for f in found] == [True, False, False]
    assert [f.sure for f in found] == [True, False, True]


def test_a_draw_deals_every_class_in_its_share():
    codes = np.repeat(np.arange(5), [400, 200, 100, 60, 40])
    training, testing = dealt(codes, 600, 200, seed=3)
    assert not set(training.tolist()) & set(testing.tolist())
    assert len(training) + len(testing) == len(codes)
    shares = np.bincount(codes[training]) / np.bincount(codes)
    np.testing.assert_allclose(shares, 0.75, atol=0.05)
    assert set(training.tolist()) != set(dealt(codes, 600, 200, seed=4)[0].tolist())


def test_the_indicator_has_a_column_for_each_name():
    rows = [["sea", "sea"], ["sea", "sky"], ["sky"], ["sun"]]
    assert labels.indicator(rows, ["sky", "sea"]).tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]]


def test_an_outcome_is_measured_once_and_a_failure_again(tmp_path, capsys):
    calls = []

    def run():
        calls.append(1)
        return [Finding("more is better", "here", "+1.0", holds=True)], [Table("t", ("a", "b"), (("1", "2"),))]

    def broken():
        calls.append(1)
        raise RuntimeError("no such thing")

    study = Study("A paper", "study, one", __file__, "digest", run, {"seeds": (0, 1)})
    first = study.outcome(tmp_path)
    assert study.outcome(tmp_path) == first
    assert len(calls) == 1
    replace(study, settings={"seeds": (0, 2)}).outcome(tmp_path)
    replace(study, data="other").outcome(tmp_path)
    assert len(calls) == 3
    failing = replace(study, name="study, two", run=broken)
    assert failing.outcome(tmp_path).error == "RuntimeError: no such thing"
    failing.outcome(tmp_path)
    assert len(calls) == 5
    assert "no such thing" in capsys.readouterr().err
    text = page([(study, first), (failing, Outcome(error="RuntimeError: no such thing", date=first.date))])
    assert "| more is better | 1 of 1 |" in text
    assert "| here | +1.0 | *holds here* |" in text
    assert "**Failed:** study, two" in text
    assert "why it does not" not in text
    remarked = page([(replace(study, remarks={"more is better": "why it does not"}), first)])
    assert "### More is better\n\nwhy it does not\n\n| where" in remarked
