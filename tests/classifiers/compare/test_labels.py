"""Comparisons on tasks with any number of labels a row: controls, figures, curve, report and resuming."""

import json

import numpy as np
import pytest
from helpers.toys import fill_labels, make_label_toy
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score

from classifiers.compare import page
from classifiers.compare.candidates import LABEL_CONTROLS, NEAREST_LABEL, ONE_VS_REST, SHARES, defaults, with_controls
from classifiers.compare.family import ANY_LABELS, ONE_CLASS, family_of
from classifiers.compare.label_heads import label_shares, nearest_label_mean
from classifiers.compare.record import load, to_record
from classifiers.compare.run import run, start
from classifiers.fit.multilabel.bank.ridge import PENALTIES
from classifiers.training.kinds import make_estimator
from classifiers.training.rows.rows import LabelledRows
from store import Store


@pytest.fixture(scope="module", params=["val", "folds"])
def done(request, tmp_path_factory):
    """Return a finished comparison of the default heads for labels, with and without validation rows."""
    folder = tmp_path_factory.mktemp(request.param)
    store = Store.open(folder / "db")
    splits = None if request.param == "val" else ["train"] * 500 + ["test"] * 100
    fill_labels(store, make_label_toy(), **({} if splits is None else {"splits": splits}))
    tried = with_controls(defaults(["toy"], several=True), several=True)
    comparison = start(store, folder / "it", task="toy", encoders=["toy"], candidates=tried)
    run(comparison)
    return comparison


def test_every_default_and_control_is_ranked_by_map(done):
    assert not done.failed
    assert done.family is ANY_LABELS
    ranked = done.ranking()
    found = [trial.evaluation.figures.map for trial in ranked]
    assert found == sorted(found, reverse=True)
    controls = {trial.candidate.control for trial in ranked if trial.candidate.control}
    assert controls == {name for _, _, name in LABEL_CONTROLS}
    assert ranked[-1].candidate.kind == SHARES
    assert done.winner().candidate.trainable


def test_figures_are_scikit_learns_and_lie_in_their_intervals(done):
    best = done.winner()
    outcomes, found = best.outcomes, best.evaluation
    theirs = average_precision_score(outcomes.truth, outcomes.logits, average="macro")
    assert found.figures.map == pytest.approx(theirs, rel=1e-5)
    low, high = found.interval
    assert low < theirs < high
    assert 0.002 < high - low < 0.2
    p = 1 / (1 + np.exp(-outcomes.logits.astype(np.float64)))
    assert found.nll == pytest.approx(-np.where(outcomes.truth, np.log(p), np.log1p(-p)).mean(), rel=1e-5)
    shares = next(trial for trial in done.trials.values() if trial.candidate.kind == SHARES)
    pair = done.pairs[shares.candidate.label]
    assert pair.map.mean == pytest.approx(found.figures.map - shares.evaluation.figures.map)
    assert pair.map.low > 0
    assert not pair.alike


def test_test_rows_are_measured_once_for_the_winner_and_its_controls(done):
    best, test = done.winner(), done.rows.labelled_rows("test", done.classes)
    names = [done.trials[label].candidate.title for label in done.test]
    assert names[0] == best.candidate.title
    assert {NEAREST_LABEL, SHARES} < set(names)
    assert (ONE_VS_REST in names) or best.candidate.control == ONE_VS_REST
    assert {found.rows for found in done.test.values()} == {len(test.ids)}
    assert all(pair.map.mean >= 0 for label, pair in done.test_pairs.items() if label.startswith(SHARES))


def test_the_curve_of_components_ends_at_the_map_of_a_ridge_regression_on_all_of_them(done):
    points = done.curves["toy"]
    views = [
        (view.labelled_rows("train", done.classes), view.labelled_rows("val", done.classes))
        for view in done.rows.validations()
    ]
    figures = []
    for penalty in PENALTIES:
        scores = []
        for known, held in views:
            whole = done.rows.labelled_rows("train", done.classes).X
            strength = penalty * whole.var(axis=0).sum()
            theirs = Ridge(alpha=strength, fit_intercept=False).fit(
                known.X - whole.mean(axis=0), known.Y - known.Y.mean(axis=0)
            )
            scores.append(theirs.predict(held.X - whole.mean(axis=0)))
        figures.append(average_precision_score(np.concatenate([held.Y for _, held in views]), np.concatenate(scores)))
    assert points[-1].value == pytest.approx(max(figures), abs=0.01)
    assert points[0].value < points[-1].value
    assert [point.components for point in points] == sorted(point.components for point in points)
    assert list(to_record(done)["pca"]["toy"][0]) == ["share", "components", "mAP"]


def test_the_curve_of_f1_rises_with_the_training_rows(done):
    points = done.growth.points
    assert [point.rows for point in points] == sorted(point.rows for point in points)
    assert points[-1].value > points[0].value
    assert points[-1].rows == len(done.rows.labelled_rows("train", done.classes).ids)


def test_the_report_shows_labels_and_no_confusions(done):
    page.write(done)
    html = (done.folder / page.REPORT).read_text()
    for text in ("Train this one", "mAP", "How good it is at each label", "F1 on test", "Label balance", SHARES):
        assert text in html
    for text in ("What it mixes up", "accuracy", "If it answers only"):
        assert text not in html
    assert {each.name for each in done.folder.glob("*.png")} == {"parameters.png", "reliability.png", "pca.png"}


def test_a_mistake_names_a_label_that_is_given_wrongly_or_missed(done):
    assert done.mistakes
    truth = done.rows.labelled_rows("test", done.classes)
    labels = {id_: {done.classes[k] for k in np.flatnonzero(row)} for id_, row in zip(truth.ids, truth.Y, strict=True)}
    for each in done.mistakes:
        assert (each.answer.removeprefix("not ") in labels[each.id]) == each.answer.startswith("not ")


def test_a_finished_comparison_reads_back_the_same(done):
    record = json.loads((done.folder / "compare.json").read_text())
    assert record["candidates"][0]["validation"]["map"] == pytest.approx(done.ranking()[0].evaluation.figures.map)
    again = load(done.rows.store, done.folder)
    again.settle()
    ours, theirs = (to_record(each)["candidates"] for each in (again, done))
    assert [each["behind_winner"] for each in ours] == [each["behind_winner"] for each in theirs]
    assert [each["validation"] for each in ours] == [each["validation"] for each in theirs]


def test_controls_by_hand():
    X = np.array([[0, 0], [0, 2], [4, 0], [4, 2]], np.float32)
    Y = np.array([[0, 1], [0, 1], [1, 1], [1, 1]], np.bool_)
    rows = LabelledRows(list("abcd"), X, Y)
    middle = np.array([[2.0, 7.0]], np.float32)  # as far from both means of the first label
    near = nearest_label_mean(rows, ("first", "always"))
    np.testing.assert_allclose(near.scores(middle)[0], [0.0, np.log(4.5 / 0.5)], atol=1e-5)
    variance = X.var(axis=0).mean()
    expected = ((1.0 - 0) ** 2 - (1.0 - 4) ** 2) / (2 * variance)
    assert near.scores(np.array([[1.0, 1.0]], np.float32))[0, 0] == pytest.approx(expected, rel=1e-5)
    shares = label_shares(rows, ("first", "always"))
    np.testing.assert_allclose(shares.scores(middle), [[0.0, np.log(4.5 / 0.5)]], atol=1e-5)


def test_the_family_follows_the_kinds():
    several = with_controls(defaults(["a", "b"], several=True), several=True)
    assert family_of(several) is ANY_LABELS
    assert family_of(with_controls(defaults(["a"]))) is ONE_CLASS
    assert len({each.label for each in several}) == len(several)
    for each in several:
        assert not each.trainable or make_estimator(each.kind, each.params)
