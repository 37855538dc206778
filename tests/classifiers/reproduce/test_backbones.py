"""Fusion of backbones: figures against computations by hand, what is learned from which rows, and what is missing."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.toys import EDGES, embed_texts, ids_of, make_toy, spec_of, unit

from classifiers.errors import BadParameter, NotTrainable
from classifiers.prompt_sets import SETS
from classifiers.reproduce.backbones.data import Data
from classifiers.reproduce.backbones.draws import Drawn, draw_one
from classifiers.reproduce.backbones.figures import figures, who_is_right
from classifiers.reproduce.backbones.judged import JUDGING
from classifiers.reproduce.backbones.regimes import LinearProbe, linear_probes
from classifiers.reproduce.backbones.rules import NLC, STACK, SideBySide
from classifiers.reproduce.backbones.study import Study
from classifiers.reproduce.backbones.tables import tables
from classifiers.reproduce.page import write
from classifiers.training.rows.rows import Rows
from store import Label, Store

NAMES, COSTS = ("small", "middle", "large"), (5.0, 9.0, 2.0)
"""Encoders of the store, whose order by cost is another one."""
ORDER = ("large", "small", "middle")
ROWS = 360
TOY = make_toy(n=ROWS, spread=0.7)
COLUMNS = dict(zip(NAMES, [slice(*edges) for edges in pairwise(EDGES)], strict=True))


def text_side(fingerprint, texts):
    """Return text vectors in the columns of an encoder, whose fingerprint the spec of `filled` gives."""
    [name] = [name for name in NAMES if spec_of(4, weights=name).fingerprint == fingerprint]
    return embed_texts(texts)[:, COLUMNS[name]]


def fill(folder, *, blind=(), n=ROWS) -> Store:
    store, ids = Store.open(folder / "db"), ids_of(n)
    for name, columns in COLUMNS.items():
        spec = spec_of(4, weights=name, text=None if name in blind else "t")
        store.ensure_features(name, spec, np.eye(2, 4, dtype=np.float32)).put(ids, TOY.X[:n, columns])
    splits = ["test" if i % 3 == 0 else "train" for i in range(n)]
    rows = zip(ids, TOY.labels, splits, strict=False)
    store.labels.put("toy", [Label(id_, [label], split) for id_, label, split in rows])
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="module")
def data(store):
    return Data.read(Rows(store, "toy", NAMES, store.snapshot()), COSTS)


def run(store, **changes):
    asked = {"costs": COSTS, "unit": "GFLOPs", "draws": 2, "texts": text_side, **changes}
    study = Study.prepare(store, "toy", asked.pop("encoders", NAMES), **asked)
    study.run()
    return study.result()


@pytest.fixture(scope="module")
def found(store):
    return run(store)


def test_accuracies_oracle_and_gains_follow_from_who_is_right(found):
    assert found.encoders == ORDER
    for each in found.figures.values():
        n, sets = each["test_rows"], [(set(one["backbones"]), one["rows"]) for one in each["right"]]
        assert sum(rows for _, rows in sets) == pytest.approx(n)
        for name, alone in zip(each["backbones"], each["alone"], strict=True):
            assert alone["mean"] == pytest.approx(sum(rows for who, rows in sets if name in who) / n)
        assert each["oracle"]["mean"] == pytest.approx(sum(rows for who, rows in sets if who) / n)
        assert each["gap"]["mean"] == pytest.approx(each["oracle"]["mean"] - each["single"]["mean"])
        assert each["gap"]["low"] <= each["gap"]["mean"] <= each["gap"]["high"]
        for rule, gain in each["boosts"].items():
            assert gain["mean"] == pytest.approx(each["rules"][rule]["mean"] - each["single"]["mean"])
        weighed = sum(one["rows"] * np.array(one["accuracy"]) for one in each["classes"]) / n
        np.testing.assert_allclose(weighed, [alone["mean"] for alone in each["alone"]])
        for rule in (NLC, STACK):
            assert each["prefixes"][rule][0] == each["alone"][0]
            assert each["prefixes"][rule][-1] == each["rules"][rule]
        np.testing.assert_allclose(each["spent"], np.cumsum(sorted(COSTS)))


def test_zero_shot_backbones_answer_by_cosine(found, data):
    for name, tested, plain in zip(ORDER, data.tested, found.figures["zero-shot"]["plain"], strict=True):
        whole = unit(np.stack([_prompted(label, name) for label in TOY.classes]))
        right = (unit(tested) @ whole.T).argmax(axis=1) == data.truth
        assert plain["mean"] == pytest.approx(right.mean())


def _prompted(label, name):
    """Return the mean unit vector of all prompts of a class, in the columns of one encoder."""
    filled = [prompt.replace("{}", label) for prompt in SETS["common"]]
    return unit(embed_texts(filled)[:, COLUMNS[name]].astype(float)).mean(axis=0)


def test_probes_learn_from_nine_tenths_and_the_rules_from_the_rest(data):
    regime = linear_probes(data)
    judged = JUDGING["tenth"](regime.fused[1], data, np.random.default_rng(0))
    assert not judged.learning[judged.rows].any()
    assert len(judged.rows) == np.count_nonzero(~judged.learning) == 24
    by_hand = LinearProbe(norm="unit").fit(data.blocks[1][judged.learning], data.codes[judged.learning])
    np.testing.assert_allclose(judged.scores[:, 1], by_hand.scores(data.blocks[1][judged.rows]), rtol=1e-4, atol=1e-4)


def test_out_of_fold_scores_do_not_know_the_rows_own_labels(data):
    regime = linear_probes(data)
    judged = JUDGING["folds"](regime.fused[1], data, np.random.default_rng(0))
    assert judged.learning.all()
    assert judged.rows.tolist() == list(range(240))
    own = np.mean(
        [member.predict(block) == data.codes for member, block in zip(judged.members, data.blocks, strict=True)]
    )
    held = np.mean(judged.scores.argmax(axis=2) == judged.codes[:, None])
    assert held < own


def test_no_answer_depends_on_the_test_labels(data):
    shuffled = replace(data, truth=np.roll(data.truth, 1))
    draws = [
        draw_one(linear_probes(each), "tenth", (0, 0), SideBySide(each), lambda _: None) for each in (data, shuffled)
    ]
    assert draws[0].best == draws[1].best
    for name, answer in draws[0].rules.items():
        np.testing.assert_array_equal(answer, draws[1].rules[name])
    np.testing.assert_array_equal(draws[0].refits, draws[1].refits)


def test_the_control_learns_from_the_given_rows_only(data):
    rows = np.arange(60)
    other = replace(data, codes=np.where(np.arange(240) < 60, data.codes, 0))
    here, there = (SideBySide(each).predicted(rows) for each in (data, other))
    assert here.keys() == there.keys()
    for name, answer in here.items():
        np.testing.assert_array_equal(answer, there[name])
    sides = SideBySide(data)
    assert sides.predicted(np.flatnonzero(data.codes == 0)) == {}
    assert "at least 2 classes" in next(iter(sides.reasons.values()))


def test_a_backbone_without_texts_is_left_out_of_zero_shot_only(tmp_path):
    store = fill(tmp_path, blind=["middle"], n=120)
    several = run(store, draws=1)
    assert several.figures["zero-shot"]["backbones"] == ("large", "small")
    assert several.figures["linear probes"]["backbones"] == ORDER
    assert any(said.startswith("zero-shot scores of middle") for said in several.missing)
    one = run(store, encoders=("small", "middle"), costs=(1, 2), draws=1, rule_rows="folds")
    assert list(one.figures) == ["linear probes"]
    assert "two backbones that take texts" in " ".join(one.missing)


def test_the_report_has_every_table_finding_and_picture(found, tmp_path):
    text = write(found, tmp_path / "out").read_text()
    assert all(table.title in text for table in (*found.tables, *found.paper.published))
    assert text.count("<img") == len(found.pictures) == 2
    assert len(found.findings) == 16
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".json", ".png"}


def test_sets_of_right_backbones_are_counted():
    right = np.random.default_rng(0).random((50, 6)) < 0.6
    sets = who_is_right([right])
    for count in range(7):
        assert sum(rows for who, rows in sets if len(who) == count) == np.count_nonzero(right.sum(axis=1) == count)


@pytest.mark.slow
def test_many_backbones_are_counted_instead_of_listed(data):
    """Six backbones: each of the three twice."""
    twice = Data(
        names=tuple("abcdef"),
        costs=(1.0,) * 6,
        classes=data.classes,
        split="test",
        blocks=data.blocks * 2,
        codes=data.codes,
        tested=data.tested * 2,
        truth=data.truth,
    )
    regime = linear_probes(twice)
    made = figures(Drawn(regime, (draw_one(regime, "tenth", (0, 0), SideBySide(twice), lambda _: None),), {}))
    table = next(each for each in tables(made, "ms") if "who is right" in each.title)
    assert table.rows[0][0] == "6 of 6"
    assert sum(float(row[1]) for row in table.rows) == pytest.approx(len(data.truth))


def test_an_interrupted_study_reports_the_finished_draws(store):
    study = Study.prepare(store, "toy", NAMES, costs=COSTS, unit="GFLOPs", draws=3)

    def stop(done, total, note):
        if (done, total, note) == (5, 12, "backbones"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    whole = run(store, draws=1, texts=None)
    assert study.result().settings["draws"] == 1
    assert study.result().tables == whole.tables


def test_what_cannot_be_asked(store, tmp_path):
    for wrong in ({"encoders": ("small",), "costs": (1,)}, {"costs": (1, 2)}, {"costs": (1, 0, 2)}, {"draws": 0}):
        with pytest.raises(BadParameter):
            run(store, **wrong)
    with pytest.raises(BadParameter, match="tenth, folds"):
        run(store, rule_rows="all")
    with pytest.raises(NotTrainable, match="at least 20"):
        run(fill(tmp_path, n=21))
