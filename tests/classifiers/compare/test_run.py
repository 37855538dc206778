"""Comparisons on real stores: the ranking, the rows that each candidate sees, failures, and Ctrl-C."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_toy, spec_of, text_of, text_side, unit
from sklearn.neighbors import NearestCentroid

from classifiers.compare.candidates import MAJORITY, NEAREST, SOFTMAX, Candidate, parse_lines, with_controls
from classifiers.compare.curves import pca_curve
from classifiers.compare.family import ONE_CLASS
from classifiers.compare.held import HeldRows, bytes_of
from classifiers.compare.more_labels import winners_curve
from classifiers.compare.one_class import learn
from classifiers.compare.record import load, to_record
from classifiers.compare.run import run, start
from classifiers.compare.trial import examine, scoring_parameters
from classifiers.errors import BadComparison, BadParameter, NotTrainable, UnknownKind, UnknownParameter
from classifiers.fit.gaussian.parallel import blas, workers
from classifiers.fit.linear import LinearClassifier
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.published.registry import Registry
from classifiers.training.classes import CROSS_VALIDATION
from classifiers.training.growth import grow
from classifiers.training.learning.learn import learn_in_memory
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.task_rows import LEAST_VALIDATION
from store import Label, Store
from store.errors import UnknownFeatures, UnknownTask

LINES = ["gaussian", "gaussian project=pca norm=unit", "linear C=0.1"]


def begun(store, folder, lines=LINES, encoders=("toy",), *, controls=True, **changes):
    """Return a comparison; without `controls`, which take longest, where nothing is asked about them."""
    candidates = parse_lines(lines, encoders)
    candidates = with_controls(candidates) if controls else candidates
    given = {"task": "toy", "encoders": encoders, "candidates": candidates, "train_command": recipe}
    return start(store, folder, **given | changes)


def recipe(candidate, task, options):
    """A command as a caller may write it."""
    return " ".join(["learn", task, candidate.label, *options])


def finished(store, folder, *arguments, **changes):
    comparison = begun(store, folder, *arguments, **changes)
    run(comparison)
    return comparison


@pytest.fixture(scope="module")
def filled(tmp_path_factory, hard):
    """Return a store in which no head is always right. Tests must not write to it."""
    store = Store.open(tmp_path_factory.mktemp("hard") / "db")
    fill(store, hard)
    return store


@pytest.fixture(scope="module")
def done(filled, tmp_path_factory):
    return finished(filled, tmp_path_factory.mktemp("done") / "it")


def without_times(record: dict) -> dict:
    candidates = [{**each, "seconds": None} for each in record["candidates"]]
    return {**record, "candidates": candidates, "snapshot": record["snapshot"]["versions"]}


@pytest.mark.parametrize("number", range(len(LINES)))
def test_figures_are_those_that_training_reports(done, filled, tmp_path, number):
    candidate = done.candidates[number]
    made = train(filled, Registry(tmp_path), task="toy", encoders=["toy"], name="x", kind=candidate.kind,
                 params=candidate.params)  # fmt: skip
    trial = done.trials[candidate.label]
    assert trial.evaluation.summary() == pytest.approx(made.report.evaluations["val"].summary(), rel=1e-4)
    assert trial.temperature == pytest.approx(made.report.temperature, rel=1e-3)
    if trial is done.winner():
        assert done.test[candidate.label].summary() == pytest.approx(
            made.report.evaluations["test"].summary(), rel=1e-4
        )


def test_texts_are_compared_with_what_is_learned_from_rows(filled, tmp_path):
    lines = ["zeroshot blend=0 centre=false", "zeroshot blend=gaussian", "gaussian norm=unit"]
    comparison = finished(filled, tmp_path / "with", lines, texts=text_side, controls=False)
    assert not comparison.failed
    text, blended, gaussian = (comparison.trials[each.label] for each in comparison.candidates[:3])
    assert blended.evaluation.accuracy == pytest.approx(gaussian.evaluation.accuracy, abs=0.02)
    val = filled.matrix("toy", ["toy"]).select("val")
    cosines = unit(val.X.astype(np.float64)) @ text_of(val.classes).T
    assert text.evaluation.accuracy == pytest.approx(np.mean(cosines.argmax(axis=1) == val.codes))
    assert text.parameters == len(val.classes) * (val.X.shape[1] + 1)
    without = finished(filled, tmp_path / "without", lines[:1], controls=False)
    assert "texts" in without.failed[lines[0] + " @ toy"]
    again = load(filled, tmp_path / "without", text_side)
    run(again)
    assert not again.failed


def test_the_best_on_validation_rows_wins(done):
    accuracies = [trial.evaluation.accuracy for trial in done.ranking()]
    assert accuracies == sorted(accuracies, reverse=True)
    record = json.loads((done.folder / "compare.json").read_text())
    assert (record["state"], record["winner"]) == ("done", done.ranking()[0].candidate.label)
    assert [each["rank"] for each in record["candidates"]] == list(range(1, 7))


def test_the_command_is_the_callers(done, filled, tmp_path):
    record = json.loads((done.folder / "compare.json").read_text())
    assert record["command"] == f"learn toy {record['winner']}"
    assert load(filled, done.folder, train_command=recipe).command(done.winner()) == record["command"]
    assert to_record(load(filled, done.folder))["command"] is None
    asked = begun(filled, tmp_path / "it", options=["--at", "home"])
    again = load(filled, asked.folder, train_command=recipe)
    assert again.command(done.winner()) == record["command"] + " --at home"


def test_test_is_shown_for_the_winner_and_its_controls_only(done):
    best, controls = done.winner(), done.controls()
    assert list(done.test) == [each.candidate.label for each in (best, *controls)]
    assert set(done.test_pairs) == {each.candidate.label for each in controls}
    assert all(each.candidate.control for each in controls)
    assert len(done.test) < len(done.trials)


def test_the_winners_curve_ends_at_its_accuracy_and_begins_with_heads_of_fewer_rows(done, filled, tmp_path):
    curve, best = done.growth, done.winner()
    last = curve.points[-1]
    assert last.value == pytest.approx(done.test[best.candidate.label].accuracy)
    assert last.rows == done.rows.labelled("train").num_rows
    assert [each.rows for each in curve.points] == sorted({each.rows for each in curve.points})
    assert curve.points[0].value < last.value
    made = train(filled, Registry(tmp_path), task="toy", encoders=["toy"], name="x", kind=best.candidate.kind,
                 params=best.candidate.params)  # fmt: skip
    own = grow(filled, Registry(tmp_path).load("x"), seed=done.seed).curve
    assert made.version
    assert [each.rows for each in curve.points] == [each.rows for each in own.points]
    np.testing.assert_allclose([p.value for p in curve.points], [p.value for p in own.points], atol=1e-9)


def test_a_winner_that_learns_slowly_has_no_curve(done, monkeypatch):
    monkeypatch.setattr("classifiers.compare.more_labels.MOST_SECONDS", 0.0)
    rows = HeldRows.read(done.rows, done.classes, ("train", "val"))
    best = done.winner()
    assert (
        winners_curve(best, learn(best.candidate, rows, done.classes)[0], rows, rows, "val", done.classes, 0, ONE_CLASS)
        is None
    )


def test_test_labels_change_test_figures_alone(tmp_path):
    toy = make_toy(spread=0.7)
    splits = np.random.default_rng(0).choice(["train", "val", "test"], len(toy.X), p=[0.6, 0.2, 0.2])
    labels = toy.labels.copy()
    labels[splits == "test"] = np.roll(labels[splits == "test"], 1)
    records = []
    for name, version in (("true", toy), ("shuffled", replace(toy, labels=labels))):
        store = Store.open(tmp_path / f"{name}.db")
        fill(store, version, splits=splits)
        records.append(without_times(to_record(finished(store, tmp_path / name))))
    honest, shuffled = ({key: record[key] for key in record if key != "snapshot"} for record in records)
    assert honest["test"][honest["winner"]]["accuracy"] > 0.6 > shuffled["test"][shuffled["winner"]]["accuracy"]
    for record in (honest, shuffled):
        del record["test"], record["test_pairs"], record["mistakes"], record["learning_curve"]
    assert honest == shuffled


def test_controls_are_what_they_are_called(done, filled):
    matrix = filled.matrix("toy", ["toy"])
    training, validation = matrix.select("train"), matrix.select("val")
    by_name = {trial.candidate.control: trial for trial in done.trials.values()}
    nearest = NearestCentroid().fit(training.X, training.codes).predict(validation.X)
    held = HeldRows.read(done.rows, done.classes, ("train", "val"))
    head, _ = learn(by_name[NEAREST].candidate, held, done.classes)
    np.testing.assert_array_equal(head.scores(validation.X).argmax(axis=1), nearest)
    commonest = np.bincount(training.codes).argmax()
    assert by_name[MAJORITY].evaluation.accuracy == pytest.approx(np.mean(validation.codes == commonest))


def test_nobody_wins_by_the_majority_class(done):
    only = replace(done, trials={label: trial for label, trial in done.trials.items() if MAJORITY in label})
    assert only.winner() is None
    assert only.controls() == []
    assert to_record(only)["winner"] is None


@pytest.fixture(scope="module")
def two(tmp_path_factory, toy):
    """Return a store with two encoders. Some rows have no vector of the second encoder."""
    store = Store.open(tmp_path_factory.mktemp("two") / "db")
    fill(store, toy)
    other = make_toy(seed=1)
    probe = np.eye(2, 12, dtype=np.float32)
    features = store.ensure_features("other", spec_of(12, weights="other"), probe)
    features.put(ids_of(600)[:560], (toy.X + other.X)[:560])
    return store


def test_every_candidate_sees_the_rows_that_have_all_vectors(two, tmp_path):
    encoders = ("toy", "other")
    comparison = finished(two, tmp_path / "it", ["gaussian", "fusion rule=log-average"], encoders, controls=False)
    assert comparison.failed == {}
    both = two.matrix("toy", encoders, splits=["val"])
    for trial in comparison.trials.values():
        np.testing.assert_array_equal(trial.outcomes.codes, both.codes)
    assert {note.partition(":")[0] for note in comparison.notes} == {"train", "val"}
    assert f"train: {two.matrix('toy', encoders, splits=['train']).dropped} of " in comparison.notes[0]


def test_held_rows_are_the_rows_of_the_store(two):
    rows = Rows(two, "toy", ("toy", "other"), two.snapshot())
    held = HeldRows.read(rows, rows.classes(), ("train", "val"))
    for encoders in (("toy",), ("other",), ("toy", "other"), ("other", "toy")):
        stored = two.matrix("toy", encoders, splits=["train"])
        mine = held.of(encoders).matrix("train", rows.classes())
        known = np.isin(stored.ids, mine.ids)
        np.testing.assert_array_equal(mine.X, stored.X[known])
        np.testing.assert_array_equal(mine.codes, stored.codes[known])
        streamed = list(held.of(encoders).batches("train", rows.classes()))
        np.testing.assert_array_equal(np.concatenate([X for _, X, _ in streamed]), mine.X)
    assert bytes_of(rows, ("train", "val")) >= sum(matrix.X.nbytes for matrix in held.held.values())
    fold = held.folds(5)[1]
    parts = [{*fold.matrix(split, rows.classes()).ids} for split in ("train", "val")]
    assert parts[0] | parts[1] == {*held.held["train"].ids}
    assert not parts[0] & parts[1]


def test_one_that_fails_takes_no_other_down(filled, tmp_path):
    comparison = finished(
        filled, tmp_path / "it", ["gaussian project=pca dims=500", "gaussian covariance=oval", "linear"]
    )
    assert {label.split()[1]: reason.partition(":")[0] for label, reason in comparison.failed.items()} == {
        "project=pca": "NotTrainable",
        "covariance=oval": "BadParameter",
    }
    record = json.loads((tmp_path / "it" / "compare.json").read_text())
    assert record["state"] == "done"
    assert [each["state"] for each in record["candidates"]] == ["done"] * 3 + ["failed"] * 2
    assert "500" in record["candidates"][3]["reason"]


def test_what_is_finished_outlives_an_interruption_and_goes_on(filled, tmp_path, done):
    comparison = begun(filled, tmp_path / "it")

    def interrupt(step, total, what):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(comparison, interrupt)
    record = json.loads((tmp_path / "it" / "compare.json").read_text())
    assert (record["state"], len(comparison.trials), record["test"]) == ("stopped", 2, {})
    assert [each["state"] for each in record["candidates"]] == ["done", "done", *["waiting"] * 4]
    again = load(filled, tmp_path / "it", train_command=recipe)
    assert set(again.trials) == set(comparison.trials)
    steps = []
    run(again, lambda step, total, what: steps.append((step, total)))
    assert steps == [(step, steps[0][1]) for step in range(steps[0][1] + 1)]
    assert without_times(to_record(again)) == without_times(to_record(done))
    assert load(filled, tmp_path / "it").state == "done"


def test_a_stop_while_outcomes_are_written_costs_this_candidate_alone(filled, tmp_path, done, monkeypatch):
    """Also a disk that is full at this moment: the record must not name outcomes that are not there."""
    comparison, saving = begun(filled, tmp_path / "it"), ONE_CLASS.save

    def stopped(path, outcomes):
        if path.stem == "2":
            raise KeyboardInterrupt
        saving(path, outcomes)

    monkeypatch.setattr(ONE_CLASS, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(comparison)
    monkeypatch.undo()
    again = load(filled, tmp_path / "it", train_command=recipe)
    assert len(again.trials) == 2
    run(again)
    assert without_times(to_record(again)) == without_times(to_record(done))


def test_without_validation_rows_folds_are_held_out(tmp_path):
    store, toy = Store.open(tmp_path / "db"), make_toy(n=200)
    fill(store, toy, splits=["test" if i % 5 == 0 else "train" for i in range(200)])
    comparison = finished(store, tmp_path / "it", ["gaussian", "linear C=0.1"], controls=False)
    made = train(store, Registry(tmp_path), task="toy", encoders=["toy"], name="x", kind="linear", params={"C": 0.1})
    found = comparison.trials["linear C=0.1 @ toy"].evaluation
    assert comparison.validated_on == "cross-validation"
    assert found.summary() == pytest.approx(made.report.evaluations["cross-validation"].summary())
    assert any("fold by fold" in note for note in comparison.notes)
    assert comparison.curves["toy"][-1].components == 12


def test_a_fusion_is_validated_on_the_folds_of_all_others(tmp_path):
    store, toy = Store.open(tmp_path / "db"), make_toy(n=200, spread=0.7)
    for encoder in ("toy", "other"):
        fill(store, toy, encoder=encoder, splits=["train"] * 200)
    lines = ["gaussian shrinkage=0.5", "fusion"]
    comparison = finished(store, tmp_path / "it", lines, ("toy", "other"), controls=False)
    assert comparison.failed == {}
    assert comparison.test == {}
    codes = [trial.outcomes.codes for trial in comparison.trials.values()]
    assert all(np.array_equal(each, codes[0]) for each in codes)
    assert "No test rows" in comparison.notes[-1]


def test_what_cannot_be_compared_leaves_no_folder(filled, tmp_path):
    few = Store.open(tmp_path / "few.db")
    fill(few, make_toy(n=10), splits=["train"] * 10)
    wrong = [
        (few, {}, NotTrainable),
        (filled, {"encoders": ()}, NotTrainable),
        (filled, {"task": "nosuch"}, UnknownTask),
        (filled, {"encoders": ("nosuch",)}, UnknownFeatures),
        (filled, {"candidates": [Candidate("nosuch", ("toy",))]}, UnknownKind),
        (filled, {"candidates": [Candidate("linear", ("toy",), {"nosuch": 1})]}, UnknownParameter),
    ]
    for store, changes, error in wrong:
        with pytest.raises(error):
            begun(store, tmp_path / "it", **changes)
    assert not (tmp_path / "it").exists()
    with pytest.raises(BadComparison, match=r"compare\.json"):
        load(filled, tmp_path / "it")


def test_any_two_can_be_asked_for(done):
    first, second, pair = done.pair("1", done.ranking()[2].candidate.label)
    assert (first, second) == (done.ranking()[0], done.ranking()[2])
    assert pair.accuracy == done.pairs[second.candidate.label].accuracy
    with pytest.raises(BadParameter, match="rank from 1 to 6"):
        done.pair("1", "7")


def test_the_curve_is_what_its_candidates_give(filled):
    rows = Rows(filled, "toy", ("toy",), filled.snapshot())
    held = HeldRows.read(rows, rows.classes(), ("train", "val"))
    points = pca_curve(held, rows.classes(), shares=(0.3, 0.8, 1.0))
    assert points[-1].components == 12
    for point in points:
        candidate = Candidate(
            "gaussian", ("toy",), {"project": "pca", "dims": "all" if point.share == 1 else point.share}
        )
        head, [part] = learn(candidate, held, rows.classes())
        assert head.transform.width == point.components
        assert np.mean(part.scores.argmax(axis=1) == part.truth) == point.value


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 5 * 12 + 5),
        ({"project": "pca", "dims": 4}, 5 * 12 + 5),
        ({"project": "ranpac", "dims": 30}, 5 * 30 + 5 + 12 * 30),
        ({"covariance": "diag"}, 5 * (12 + 12 + 1) + 12),
    ],
)
def test_parameters_are_what_scoring_takes(done, params, expected):
    held = HeldRows.read(done.rows, done.classes, ("train", "val"))
    head, _ = learn(Candidate("gaussian", ("toy",), params), held, done.classes)
    assert scoring_parameters(head) == expected


def test_no_head_of_a_comparison_computes_a_whitening(filled, tmp_path, monkeypatch):
    asked, whitening = [], GaussianHead.whitening.func
    monkeypatch.setattr(GaussianHead, "whitening", property(lambda head: asked.append(head) or whitening(head)))
    comparison = finished(filled, tmp_path / "it", ["gaussian", "fusion member=gaussian"])
    assert comparison.state == "done"
    assert not comparison.failed
    assert not asked


def test_a_steps_seconds_count_for_each_head_that_shares_it(done, monkeypatch):
    held = HeldRows.read(done.rows, done.classes, ("train", "val"))
    monkeypatch.setattr("classifiers.compare.trial.saved_seconds", iter([500.0, 1500.0]).__next__)
    trial, _ = examine(Candidate("gaussian", ("toy",), {}), held, done.classes, 0, ONE_CLASS)
    assert 1000 < trial.seconds < 1100


@pytest.fixture
def foreign(tmp_path):
    """A store whose validation rows have a class that no training row has."""
    store, toy = Store.open(tmp_path / "db"), make_toy(n=200)
    splits = ["val" if label == "class 4" else "train" for label in toy.labels]
    fill(store, toy, splits=splits)
    return store


def test_validation_rows_of_unknown_classes_only_leave_the_choice_to_folds_as_in_training(foreign, tmp_path):
    comparison = finished(foreign, tmp_path / "it", ["gaussian"], controls=False)
    assert comparison.validated_on == CROSS_VALIDATION
    assert comparison.trials
    assert comparison.notes[0].startswith("No validation row has a label of the training rows (of 41)")


def test_no_validation_row_of_a_known_class_has_a_vector(foreign, tmp_path):
    missing = (f"{i:064x}" for i in range(LEAST_VALIDATION))
    foreign.labels.put("toy", [Label(id_, ["class 1"], "val") for id_ in missing])
    comparison = finished(foreign, tmp_path / "it")
    assert not comparison.trials
    assert set(comparison.failed) == {each.label for each in comparison.candidates}
    rows = HeldRows.read(comparison.rows, comparison.classes, ("train", "val"))
    with pytest.raises(NotTrainable, match="no validation row with a vector has a class of the training rows"):
        pca_curve(rows, comparison.classes)


def test_a_comparison_uses_one_blas_thread_and_gives_the_others_back(filled, tmp_path):
    seen = []
    with blas().limit(limits=2):
        before = workers()
        run(begun(filled, tmp_path / "it", ["gaussian"]), lambda *_: seen.append(workers()))
        assert workers() == before
    assert set(seen) == {1}


def test_a_control_is_learned_again_with_the_penalty_it_chose(done, filled, monkeypatch):
    control = next(trial for trial in done.trials.values() if trial.candidate.control == SOFTMAX)
    rows = HeldRows.read(done.rows, done.classes, ("train", "val"))
    monkeypatch.setattr("classifiers.training.learning.linear.choose_penalty", None)  # must not be called
    again = done.family.relearn(control, rows, done.classes)
    whole = learn_in_memory(LinearClassifier(C=control.settings["C"]), rows, done.classes).head
    np.testing.assert_array_equal(again.scores(rows.held["val"].X), whole.scores(rows.held["val"].X))
    assert again.temperature == control.temperature
