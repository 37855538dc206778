"""The study of Gaussian-mixture heads: which rows and dimensions it uses, its heads against `train`, its figures."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_toy
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from classifiers.errors import BadParameter, NotTrainable, UnknownParameter
from classifiers.evaluation.paired import Difference
from classifiers.published.registry import Registry
from classifiers.reproduce.gmm.cells import CHOSEN, ONE, SEVERAL
from classifiers.reproduce.gmm.divisions import AllRows, by_folds, by_seeds
from classifiers.reproduce.gmm.entrants import ENTRANTS, RECIPE, chosen
from classifiers.reproduce.gmm.findings import Answer
from classifiers.reproduce.gmm.measured import ACCURACY, together
from classifiers.reproduce.gmm.plan import Plan
from classifiers.reproduce.gmm.projected import Projection, Size
from classifiers.reproduce.gmm.published import COUNTS
from classifiers.reproduce.gmm.result import reproduction
from classifiers.reproduce.gmm.study import Study
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows
from store import Label, Store

ROWS = 600
SPLITS = ["train"] * 440 + ["val"] * 60 + ["test"] * 100
SMALL = Plan(
    sizes=(Size(share=0.8), Size(count=2), Size(share=1.0)),
    components=(1, 2),
    entrants=chosen(["lda", "softmax", "dgmmc-s"]),
    seeds=2,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread of BLAS: the steps of L-BFGS depend on the last bits of products, which depend on the threads."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two encoders' vectors of the same rows, whose classes overlap."""
    store = Store.open(tmp_path_factory.mktemp("gmm") / "db")
    toy = make_toy(n=ROWS, spread=0.6)
    fill(store, toy, splits=SPLITS)
    fill(store, replace(toy, X=toy.X[:, :5]), encoder="short", splits=SPLITS)
    return store


def source(store, *encoders, task="toy"):
    return Rows(store, task, encoders or ("toy",), store.snapshot())


@pytest.fixture(scope="module")
def study(store):
    done = Study(source(store), SMALL)
    done.run()
    return done


def test_a_share_is_scikit_learns_and_one_dimension_is_not_all_of_the_variance(store):
    rows = AllRows.read(source(store))
    division = next(iter(by_seeds(rows, [0])))
    found = Projection.of(rows, division, "toy", "none")
    X = rows.matrix.X[division.train].astype(np.float64)
    for share in (0.3, 0.8, 0.95):
        assert Size(share=share).of(found.explained) == PCA(share).fit(X).n_components_
    np.testing.assert_allclose(np.diff(found.explained), PCA().fit(X).explained_variance_ratio_[1:], rtol=1e-4)
    assert (Size(share=1.0).of(found.explained), Size(count=1).of(found.explained)) == (12, 1)
    assert Size(share=1.0) != Size(count=1)
    white = Projection.of(rows, division, "toy", "none", whiten=True)
    np.testing.assert_allclose(white.Z[division.train].var(axis=0), 1, rtol=1e-3)
    np.testing.assert_array_equal(white.explained, found.explained)
    for wrong in ({"share": 80}, {"share": 0.0}, {"count": 0}, {}, {"share": 0.5, "count": 3}):
        with pytest.raises(BadParameter):
            Size(**wrong)


@pytest.mark.parametrize(
    ("head", "kind", "params"),
    [
        ("lda", "gaussian", {}),
        ("softmax", "linear", {"standardise": False}),
        ("dgmmc-s", "mixture", {**RECIPE, "model": "dgmmc-s"}),
    ],
)
def test_a_head_of_the_grid_is_the_one_that_training_makes_with_the_same_rows_and_dimensions(
    store, study, tmp_path, head, kind, params
):
    run = study.runs[0]
    tested = run.tested[head, CHOSEN]
    split = {row: name for name in ("train", "val", "test") for row in getattr(run.division, name).tolist()}
    task = f"as {head}"
    names = study.rows.matrix.labels.to_pylist()
    store.labels.put(task, [Label(id_, names[i], split[i]) for i, id_ in enumerate(study.rows.matrix.ids)])
    if head == "dgmmc-s":
        params = {**params, "components": tested.cell.components}
    params = {**params, "project": "pca", "dims": tested.cell.dims}
    report = train(
        store, Registry(tmp_path), task=task, encoders=["toy"], name="h", kind=kind, params=params
    ).report.evaluations
    assert report["val"].nll == pytest.approx(tested.cell.loss, rel=1e-3)
    assert report["test"].accuracy == pytest.approx(tested.figures.accuracy)
    assert report["test"].nll == pytest.approx(tested.figures.nll, rel=1e-3)


def test_the_cell_with_the_least_validation_loss_is_tested_and_no_other(study):
    for run in study.runs:
        cells = [each for each in run.cells.values() if each.entrant.key == "dgmmc-s"]
        assert len(cells) == 6
        for arm, allowed in ((CHOSEN, (1, 2)), (ONE, (1,)), (SEVERAL, (2,))):
            best = min((each for each in cells if each.components in allowed), key=lambda cell: cell.loss)
            assert run.tested["dgmmc-s", arm].cell is best
        assert {each.cell.entrant.key for each in run.tested.values()} == {"lda", "softmax", "dgmmc-s"}


def test_seeds_draw_other_validation_rows_and_measure_the_same_test_rows(store):
    rows = AllRows.read(source(store))
    one, two = by_seeds(rows, [0, 1])
    assert not np.array_equal(one.val, two.val)
    assert np.array_equal(one.test, two.test)
    for each in (one, two):
        assert sorted(np.concatenate([each.train, each.val, each.test])) == list(range(ROWS))
        assert set(rows.matrix.splits[each.test]) == {"test"}
        assert len(each.val) == 50


def test_folds_hold_out_whole_groups_and_stored_official_folds_are_used_as_they_are(store):
    ids = ids_of(ROWS)
    official = [f"fold {row % 4}" for row in range(ROWS)]
    labels = [
        Label(id_, [f"class {(row // 4) % 5}"], "train", group=group)
        for row, (id_, group) in enumerate(zip(ids, official, strict=True))
    ]
    store.labels.put("grouped", labels)
    rows = AllRows.read(source(store, task="grouped"))
    groups = np.array(rows.table["group"].to_pylist())
    runs = list(by_folds(rows, 10, 0))
    assert len(runs) == 4
    assert sorted(np.concatenate([run.test for run in runs])) == list(range(ROWS))
    for run in runs:
        sets = [set(groups[each]) for each in (run.train, run.val, run.test)]
        assert list(map(len, sets)) == [2, 1, 1]
        assert len(set.union(*sets)) == 4
    with pytest.raises(NotTrainable, match="0 in 'test'"):
        next(by_seeds(rows, [0]))


def test_figures_are_means_over_runs_and_intervals_are_over_rows(study):
    tested = [run.tested["lda", CHOSEN] for run in study.runs]
    found = together(tested, ROWS, 0)
    assert np.isnan(found.by_row).all(axis=1).sum() == 500
    assert found.interval(ACCURACY).mean == pytest.approx(found.mean("accuracy"))
    right = np.mean([each.outcomes.predicted == each.outcomes.codes for each in tested], axis=0)
    np.testing.assert_allclose(found.by_row[tested[0].rows, ACCURACY], right)
    assert found.lead(found, ACCURACY).mean == 0
    error = right.std() / 10
    low, high = found.interval(ACCURACY).low, found.interval(ACCURACY).high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


@pytest.mark.parametrize(
    ("accuracy", "nll", "told"),
    [
        ((0.02, 0.01, 0.03), (-0.1, -0.2, -0.05), "+2.0 (+1.0 to +3.0) points, better; NLL -0.100 (-0.200 to -0.050)"),
        ((-0.02, -0.03, -0.01), (-0.1, -0.2, -0.05), "points, worse; NLL -0.100 (-0.200 to -0.050) nats, better."),
        ((0.01, -0.01, 0.03), (0.1, 0.05, 0.2), "which may be chance; NLL +0.100 (+0.050 to +0.200) nats, worse."),
    ],
)
def test_a_difference_is_called_better_only_if_its_interval_says_so(accuracy, nll, told):
    found = Answer("?", ("A", "B"), *(Difference(*each, 0.5) for each in (accuracy, nll)))
    assert told in found.text()


def test_parameters_are_those_of_the_formulas_and_what_the_heads_hold(store):
    plan = Plan(sizes=(Size(count=3),), components=(1, 2), seeds=1)
    done = Study(source(store), plan)
    done.run()
    K, D = 5, 3
    cells = {(key, G): cell for (key, G, _), cell in done.runs[0].cells.items()}
    count = {key: cell.parameters for key, cell in cells.items()}
    assert count["softmax", 1] == count["lda", 1] == K * (D + 1)
    assert count["dgmmc-s", 1] == K * (D + 1) + K
    assert count["dgmmc-s", 2] == 2 * K * (D + 1) + K + 2 * K
    assert [count["sdgm-d", G] for G in (1, 2)] == [K * 7, 2 * K * 7]
    for (key, G), cell in cells.items():  # one constant a component in place of priors and weights, and a centre
        linear, squares = K * G * (D + 1), {"dgmmc-s": K * G, "sdgm-d": K * G * D}.get(key)
        kept = cell.trial.settings.get("C") == 0  # nothing was trained, so all components have the start's variance
        if squares is None or kept:
            assert key == "sdgm-f" or cell.trial.parameters == linear
        else:
            assert cell.trial.parameters == linear + squares + D
    assert count["sdgm-f", 2] == 2 * K * (D * (D + 3) // 2 + 1)
    published = {row[0]: row[3:] for row in COUNTS.rows}
    assert published["CIFAR-10, CLIP"][:3] == ("7,690", "7,700", "15,370 (30,730)")
    assert published["ESC-50, ImageBind"][:3] == ("51,250", "51,300", "102,450 (204,850)")
    assert published["CIFAR-100, ImageBind"][3].startswith("52,")


def test_what_does_not_fit_is_left_out_and_said(store):
    plan = replace(SMALL, sizes=(Size(count=3), Size(count=13)), entrants=chosen(["lda", "sdgm-f"]), seeds=1)
    done = Study(source(store), replace(plan, most_parameters=80))
    done.run()
    told = " ".join(reproduction(done).missing)
    assert "LDA with 13 dimensions: the training rows vary in 12: left out of the grid 1 times" in told
    assert "SDGM-F with more than 80 parameters: left out of the grid 1 times" in told
    assert {key[:2] for key in done.runs[0].cells} == {("lda", 1), ("sdgm-f", 1)}
    none = Study(source(store), replace(plan, entrants=chosen(["sdgm-f"]), most_parameters=1))
    with pytest.raises(NotTrainable, match="no head of the grid"):
        none.run()


def test_several_encoders_are_compared_on_the_same_rows_and_a_stopped_run_keeps_what_is_finished(store):
    plan = replace(SMALL, sizes=(Size(share=0.8),), components=(1,), entrants=chosen(["dgmmc-s"]))
    stopped = Study(source(store, "toy", "short"), plan)

    def stop(done, total, _):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    found = reproduction(stopped)
    assert found.missing[0] == "The run was stopped after 1 of 2 runs."
    assert found.settings["runs"] == ["seed 0"]
    assert [each.name for each in found.pictures] == ["accuracy-1", "accuracy-2"]
    [lead] = [each for each in found.figures["between_encoders"] if "PCA" not in each["first"]]
    accuracy = {each.encoder: each.tested["dgmmc-s", CHOSEN].figures.accuracy for each in stopped.runs}
    assert lead["accuracy"] == pytest.approx(accuracy["toy"] - accuracy["short"])
    assert any("Which encoder is better?" in each for each in found.findings)


def test_a_plan_that_cannot_be_measured_is_refused():
    for wrong in (
        {"seeds": 1, "folds": 2},
        {"seeds": 0},
        {"params": {"components": 3}},
        {"components": (0,)},
        {"sizes": ()},
    ):
        with pytest.raises(BadParameter):
            replace(SMALL, **wrong)
    with pytest.raises(UnknownParameter, match="size"):
        replace(SMALL, params={"size": 1})
    with pytest.raises(BadParameter, match=r"'qda'.*sdgm-f"):
        chosen(["qda"])
    assert list(ENTRANTS) == ["lda", "softmax", "dgmmc-s", "whitened", "sdgm-d", "sdgm-f"]
