"""The reproduction of MLCD: its parts against independent computations, and the whole on a real store."""

import json

import numpy as np
import pytest
from helpers.toys import fill, make_toy, spec_of, text_side, unit
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from classifiers.errors import NotTrainable
from classifiers.evaluation.neighbours import TEMPERATURE, shares_of_votes
from classifiers.fit.discrimination.losses import NONE
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.reproduce.mlcd.judges import JUDGES, neighbours, probe, probe_of_labels
from classifiers.reproduce.mlcd.leads import BETTER, OPEN, WORSE, lead
from classifiers.reproduce.mlcd.outcomes import RankedRows, RightRows
from classifiers.reproduce.mlcd.plan import Plan, Request, default_clusters
from classifiers.reproduce.mlcd.quality import cosine_together
from classifiers.reproduce.mlcd.rows import Learning, learning_rows, parts_of
from classifiers.reproduce.mlcd.run import Run
from classifiers.reproduce.mlcd.spaces import CONTROLS, OWN, Variant, thresholds
from classifiers.reproduce.mlcd.study import study
from classifiers.reproduce.page import to_html
from classifiers.training.rows.rows import Rows
from store import Label, Store

TOY = make_toy()
SMALL = Recipe(nearest=3, dim=6, epochs=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def learning() -> Learning:
    return Learning.of("toy", TOY.X[:400])


def test_neighbours_vote_as_those_of_scikit_learn():
    X, y, T = TOY.X[:300], TOY.codes[:300], TOY.X[300:]
    for k, found in zip((1, 7, 40), neighbours(X, y, T, (1, 7, 40)), strict=True):
        reference = KNeighborsClassifier(k, metric="cosine", weights=lambda far: np.exp(-far / TEMPERATURE))
        assert np.mean(found == reference.fit(X, y).predict(T)) > 0.99  # apart from ties in float32


def test_the_probe_is_logistic_regression_and_one_c_means_the_same_at_every_scale():
    X, y, T = TOY.X[:300].astype(np.float64), TOY.codes[:300], TOY.X[300:]
    [_, found] = probe(X, y, T, (0.01, 0.1))
    scale = np.sqrt(X.var(axis=0).mean())
    reference = LogisticRegression(C=0.1 / scale**2, max_iter=1000).fit(X, y)
    assert np.mean(found == reference.predict(T)) > 0.99
    [_, again] = probe(5 * X + 3, y, 5 * T + 3, (0.01, 0.1))
    assert np.mean(found == again) > 0.99


def test_settings_are_chosen_on_validation_rows(filled):
    parts, _ = parts_of(Rows(filled, "toy", ("toy",), filled.snapshot()))
    space = CONTROLS[OWN](Learning.of("toy", parts.train.X), 0)
    judge = JUDGES[0]
    verdict = judge.on_validation(space, parts)
    tried = {
        k: np.mean(next(neighbours(parts.train.X, parts.train.truth, parts.val.X, (k,))) == parts.val.truth)
        for k in judge.settings
    }
    assert tried[verdict.setting] == max(tried.values()) == verdict.outcome.value
    both = np.concatenate([parts.train.X, parts.val.X]), np.concatenate([parts.train.truth, parts.val.truth])
    expected = next(neighbours(*both, parts.test.X, (verdict.setting,))) == parts.test.truth
    assert judge.on_test(space, parts, verdict.setting).value == expected.mean()


def test_positives_by_a_threshold_are_those_above_it_and_the_nearest(learning):
    made = learning.clustering(20, 0)
    few, many = thresholds(learning, 20, 0, (2, 6))
    every = unit(unit(learning.X) - made.mean) @ made.centres.T
    for value, count in ((few, 2), (many, 6)):
        near = Variant(20, SMALL, value).positives(learning)
        for row in range(0, 400, 37):
            above = set(np.flatnonzero(every[row] >= value).tolist()) | {int(every[row].argmax())}
            assert set(near[row][near[row] != NONE].tolist()) == above
        assert (near != NONE).sum(axis=1).mean() == pytest.approx(count, abs=0.3)
    assert Variant(20, SMALL).positives(learning).shape == (400, 3)


def test_the_mean_cosine_of_a_rows_centres_is_that_of_all_its_pairs(learning):
    made = learning.clustering(20, 0)
    near = made.assign(learning.X, 4)[0]
    pairs = [made.centres[a] @ made.centres[b] for row in near for a in row for b in row if a != b]
    assert cosine_together(made, near) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert np.isnan(cosine_together(made, near[:, :1]))


@pytest.mark.parametrize("own_val", [True, False])
def test_adapters_learn_from_no_row_of_val_or_test(tmp_path, own_val):
    store = Store.open(tmp_path / "db")
    splits = ["train"] * 300 + ["val" if own_val else "train"] * 100 + ["test"] * 200
    ids = fill(store, TOY, splits=splits)
    store.labels.put("other", [Label(ids[0], ["class 0"], "test")])
    parts, view = parts_of(Rows(store, "toy", ("toy",), store.snapshot()))
    learned = {row.tobytes() for row in learning_rows(view, everything=False).X}
    held = {row.tobytes() for part in (parts.val, parts.test) for row in part.X}
    assert not learned & held
    assert learned | held | {TOY.X[0].tobytes()} == {row.tobytes() for row in TOY.X}
    assert TOY.X[0].tobytes() not in learned  # it is in test of another task
    more = [Label(ids[1], ["class 1"], "train")]
    store.labels.put("other", more)
    assert len(learning_rows(view, everything=True).X) == len(learned)


def test_a_lead_has_the_intervals_of_rows_and_seeds():
    random = np.random.default_rng(0)
    good, bad = random.random((3, 400)) < 0.9, random.random((3, 400)) < 0.6
    better, worse = RightRows(good), RightRows(bad)
    found = lead(better, worse, 0)
    each = good.mean(axis=1) - bad.mean(axis=1)
    low, high = stats.t.interval(0.95, 2, loc=each.mean(), scale=stats.sem(each))
    assert found.mean == pytest.approx(each.mean())
    assert found.seeds == pytest.approx((low, high))
    spread = (good.mean(axis=0) - bad.mean(axis=0)).std() / np.sqrt(400)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * spread, rel=0.1)
    assert (found.verdict, lead(worse, better, 0).verdict, lead(better, better, 0).verdict) == (BETTER, WORSE, OPEN)
    assert lead(better, RightRows(bad[:1]), 0).seeds is not None
    assert lead(RightRows(good[:1]), RightRows(bad[:1]), 0).seeds is None


def labelled(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors (n, 6) whose first columns rise with the labels, labels (n, 3), the last of no row, and noise."""
    random = np.random.default_rng(seed)
    Y = random.random((n, 3)) < (0.5, 0.3, 0.0)
    noise = random.normal(size=(n, 6)).astype(np.float32)
    return noise + 2 * np.pad(Y, ((0, 0), (0, 3))).astype(np.float32), Y, noise


def test_judges_of_labels_agree_with_scikit_learn():
    (X, Y, _), (T, _, _) = labelled(300, 0), labelled(80, 1)
    [found] = shares_of_votes(X, Y, T, (7,))
    reference = KNeighborsClassifier(7, metric="cosine", weights=lambda far: np.exp(-far / TEMPERATURE))
    for label in range(2):
        assert found[:, label] == pytest.approx(reference.fit(X, Y[:, label]).predict_proba(T)[:, 1], abs=1e-4)
    scale = np.sqrt(((X - X.mean(axis=0)) ** 2).mean())
    [_, scores] = probe_of_labels(X, Y, T, (0.01, 0.1))
    for label in range(2):
        model = LogisticRegression(C=0.1, tol=1e-8).fit((X - X.mean(axis=0)) / scale, Y[:, label])
        expected = model.decision_function((T - X.mean(axis=0)) / scale)
        assert scores[:, label] == pytest.approx(expected, abs=1e-3)
    assert np.ptp(scores[:, 2]) == 0


def test_ranked_rows_have_the_map_of_scikit_learn_and_paired_intervals():
    X, Y, noise = labelled(200, 2)
    Y = Y[:, :2]
    good, bad = RankedRows.of(X[:, :2], Y), RankedRows.of(noise[:, 2:4], Y)
    assert good.value == pytest.approx(average_precision_score(Y, X[:, :2]))
    twice = RankedRows.joined([good, good])
    assert (twice.values.tolist(), twice.interval(0)) == ([good.value] * 2, good.interval(0))
    low, high = good.interval(0)
    assert low < good.value < high
    assert (lead(good, bad, 0).verdict, lead(good, good, 0).verdict) == (BETTER, OPEN)
    assert lead(good, good, 0).low == lead(good, good, 0).high == 0  # the same rows are drawn for both


def test_clusters_are_from_a_400th_of_the_rows_to_a_quarter(learning):
    assert default_clusters(389_700) == (974, 3897, 4096)
    assert default_clusters(1314) == (3, 13, 26, 65, 131, 328)
    plan = Plan.of(Request(recipe=SMALL), learning)
    assert plan.base.clusters == 100
    assert plan.compared["MLCD, l = 1"].recipe.nearest == 1
    with pytest.raises(NotTrainable, match="ask for 3 to 400"):
        Plan.of(Request(clusters=(5, 401)), learning)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The whole experiment, small, on a store with captions, which are the names of the classes."""
    store = Store.open(tmp_path_factory.mktemp("mlcd") / "db")
    splits = ["train"] * 300 + ["val"] * 100 + ["test"] * 200
    ids = fill(store, TOY, splits=splits)
    blind = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("blind", spec_of(12, weights="blind", text=None), blind).put(ids, TOY.X)
    captions = zip(ids, TOY.labels, splits, strict=True)
    store.labels.put("captions", [Label(id_, [f"a {name}"], split) for id_, name, split in captions])
    request = Request(
        recipe=SMALL,
        clusters=(8, 20),
        nearest=(1, 3),
        thresholds=(0.5,),
        negatives=(0.5,),
        ablations=("clusters", "nearest", "threshold", "negatives", "loss"),
        seeds=2,
    )
    steps = []
    run = Run(store, "toy", ["toy", "blind"], request, "captions", text_side)

    def stop(done: int, total: int, what: str) -> None:
        steps.append((done, total))
        if what.startswith("blind"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.all(stop)
    stopped = run.reproduction()
    run.found.append(study(Rows(store, "toy", ("blind",), run.snapshot), request))
    return run.reproduction(), stopped, steps


def test_the_whole_experiment_has_every_table_and_a_report(found):
    made, _, steps = found
    titles = [table.title.partition(",")[0] for table in made.tables]
    assert titles[:2] == ["Test accuracy in %", "Claims"]
    assert titles[2:8] == [
        "Number of clusters",
        "Positives of each image",
        "Positives by a threshold",
        "Share of the negatives",
        "Loss",
        "Quality of the clusters",
    ]
    assert titles[8:] == ["Zero-shot accuracy on test rows", "Image-text retrieval"]
    json.dumps(made.to_dict(), allow_nan=False)
    html = to_html(made)
    assert "What the paper printed" in html
    assert "75.2" in html
    assert len(made.findings) == 7 + 2 * 3
    assert any("blind, which takes no text" in each for each in made.missing)
    own = made.figures["encoders"]
    assert own["toy"]["test"] == own["blind"]["test"]  # the same vectors, and nothing depends on the order
    assert all(done <= total for done, total in steps)


def test_a_stopped_run_reports_the_encoders_that_are_finished(found):
    made, stopped, _ = found
    assert (stopped.encoders, made.encoders) == (("toy",), ("toy", "blind"))
    assert stopped.missing[0] == "Everything with blind, because the run was stopped."
    assert stopped.figures["encoders"]["toy"] == made.figures["encoders"]["toy"]


def test_captions_that_are_names_are_found_as_zero_shot_finds_classes(found):
    """Each caption is of many images, so recall at 1 from image to text is the accuracy by the bare cosine."""
    made = found[0]
    figures = made.figures["retrieval"]["toy"]
    assert (figures["images"], figures["captions"]) == (200, 5)
    texts = unit(text_side("", [f"a {name}" for name in TOY.classes]))
    right = (unit(TOY.X) @ texts.T).argmax(axis=1)[400:] == TOY.codes[400:]
    [first] = [
        each for each in figures["recall"] if (each["direction"], each["vectors"]) == ("image to text", "cosine")
    ]
    assert first["R@1"]["value"] == pytest.approx(right.mean(), abs=0.01)
    assert made.figures["encoders"]["toy"]["zero_shot"]["value"] > 0.5


def test_without_test_rows_nothing_can_be_claimed(tmp_path):
    store = Store.open(tmp_path / "db")
    fill(store, TOY, splits=["train"] * 500 + ["val"] * 100)
    with pytest.raises(NotTrainable, match="no row in split 'test'"):
        parts_of(Rows(store, "toy", ("toy",), store.snapshot()))


def test_a_task_with_any_number_of_labels_is_judged_by_map(tmp_path):
    store = Store.open(tmp_path / "db")
    splits = ["train"] * 150 + ["val"] * 50 + ["test"] * 100
    ids = fill(store, make_toy(n=300), splits=splits)
    several = [[name, "odd"] if at % 2 else [name] for at, name in enumerate(make_toy(n=300).labels)]
    store.labels.put("several", [Label(*row) for row in zip(ids, several, splits, strict=True)])
    request = Request(recipe=SMALL, clusters=(20,), nearest=(2,), ablations=("nearest",), seeds=1)
    run = Run(store, "several", ["toy"], request, texts=text_side)
    run.all()
    made = run.reproduction()
    assert made.tables[0].title == "Test mAP in %"
    own = made.figures["encoders"]["toy"]
    parts, _ = parts_of(Rows(store, "several", ("toy",), run.snapshot))
    k = own["test"][OWN]["kNN"]["setting"][0]
    [scores] = shares_of_votes(parts.both.X, parts.both.truth, parts.test.X, (k,))
    assert own["test"][OWN]["kNN"]["map"] == [pytest.approx(average_precision_score(parts.test.truth, scores))]
    assert (own["zero_shot"], own["clusters"][0]["nmi"]) == (None, None)
    assert any("exactly one class for each row" in each for each in made.missing)
    json.dumps(made.to_dict(), allow_nan=False)
    assert "Points of mAP" in to_html(made)
