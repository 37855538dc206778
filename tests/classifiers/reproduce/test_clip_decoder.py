"""The experiment of CLIP-Decoder on a store whose tokens, texts and captions are made from known directions."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.toys import fill_labels, make_label_toy
from sklearn.metrics import average_precision_score

from classifiers.errors import NotTrainable
from classifiers.heads.transform import unit_rows
from classifiers.reproduce import page
from classifiers.reproduce.clip_decoder.captions import naming
from classifiers.reproduce.clip_decoder.entrants import ALIGNED, BANK, CAPTIONED, CHANCE, COSINE, GROUPS, PLAIN
from classifiers.reproduce.clip_decoder.labels import LabelDraw, draws, frequent
from classifiers.reproduce.clip_decoder.result import reproduction
from classifiers.reproduce.clip_decoder.study import CLOSED, GZSL, ZSL, Plan, Study, labels_of
from classifiers.training.rows.rows import Rows
from embedder.spec import EncoderSpec
from store import Label, Store

TOY = make_label_toy(n=300, n_labels=8)
NAMES = TOY.classes
DIRECTIONS = np.linalg.lstsq(TOY.Y.astype(np.float32), TOY.X - 0.5, rcond=None)[0]
SPLITS = ["train"] * 200 + ["test"] * 100
SMALL = {"width": 16, "heads": 4, "hidden": 16, "epochs": 3}
DRAWS = (LabelDraw(tuple("abcdef"), tuple("gh")), LabelDraw(tuple("cdefgh"), tuple("ab")))


def text_side(fingerprint, texts):
    """Return the sum of the directions of the labels that a text names."""
    named = [
        [NAMES.index(word) for word in re.findall(r"\b[a-h]\b", re.sub("^a photo|^a ", "", text))] for text in texts
    ]
    return np.array([DIRECTIONS[own].sum(axis=0) + 0.01 for own in named], np.float32)


def filled(folder, Y=TOY.Y, tokens=True):
    """Return a store of the toy, with two tokens a row whose mean is its vector, and a caption of each row."""
    store = Store.open(folder)
    ids = fill_labels(store, replace(TOY, Y=Y), splits=SPLITS, tokens=(2, 12) if tokens else None)
    if tokens:
        shift = np.random.default_rng(0).normal(size=TOY.X.shape).astype(np.float32)
        spec = EncoderSpec(**asdict(store.features("toy").spec))
        both = np.stack([TOY.X + shift, TOY.X - shift], axis=1)
        store.ensure_tokens("toy", spec, np.eye(2, 12, dtype=np.float32)).put(ids, both)
    texts = [f"It shows {' and '.join(np.array(NAMES)[own])}." for own in TOY.Y]
    store.labels.put("captions", [Label(id_, [text], "train") for id_, text in zip(ids, texts, strict=True)])
    return store


def study(store, **plan):
    asked = {"draws": DRAWS, "alphas": (0.3,), "params": {**SMALL, "prompts": ["{}"]}, "captions": "captions", **plan}
    made = Study(Rows(store, "toy", ("toy",), store.snapshot(), texts=text_side), Plan(**asked))
    made.run()
    return made


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return study(filled(tmp_path_factory.mktemp("clip") / "db"))


def of(study, draw, family):
    return next(each for each in study.trials[draw] if each.family == family)


def test_labels_are_dealt_into_seen_and_unseen():
    assert frequent([["sea", "sea"], ["sea", "sky"], ["sky"], ["sun"]], 2) == ("sea", "sky")
    names = [f"{number:02d}" for number in range(20)]
    found = list(draws(names, 0.2, range(5)))
    assert found == list(draws(names[::-1], 0.2, range(5)))
    assert len({draw.unseen for draw in found}) == 5
    for draw in found:
        assert len(draw.unseen) == 4
        assert draw.names == tuple(names)
    assert [len(draw.unseen) for draw in draws(names, 5, range(5))] == [5] * 5
    with pytest.raises(ValueError, match="at least one on each side"):
        next(draws(["a"], 1, [0]))


def test_a_caption_that_names_an_unseen_label_is_found():
    pattern = naming(["dog", "teddy_bear", "bus"])
    assert all(map(pattern.search, ("A Dog.", "two dogs", "a teddy bear", "Teddy-bears!", "buses")))
    assert not any(map(pattern.search, ("a hotdog", "a bear", "dogma", "business")))


def test_the_cosine_is_measured_as_scikit_learn_measures_it(done):
    rows = np.array(SPLITS) == "test"
    truth = {tuple(row): own for row, own in zip(TOY.X, TOY.Y, strict=True)}
    Y = np.array([truth[tuple(row)] for row in done.test.vectors])
    assert rows.sum() == len(Y)
    scores = unit_rows(done.test.vectors) @ unit_rows(text_side("", NAMES)).T
    for mode, names in ((ZSL, "gh"), (GZSL, NAMES)):
        columns = [NAMES.index(name) for name in names]
        theirs = average_precision_score(Y[:, columns], scores[:, columns], average="macro")
        assert of(done, 0, COSINE).figures[mode]["map"].value == pytest.approx(theirs, abs=1e-4)


def test_unseen_labels_are_found_by_their_texts_and_every_part_is_measured(done, tmp_path):
    found = reproduction(done)
    summary = found.figures["summary"]
    assert summary[ZSL][COSINE]["map"]["mean"] > summary[ZSL][CHANCE]["map"]["mean"] + 0.3
    assert summary[ZSL][BANK]["map"]["mean"] > summary[ZSL][CHANCE]["map"]["mean"] + 0.3
    assert {PLAIN, ALIGNED, CAPTIONED} <= summary[GZSL].keys()
    assert GROUPS in summary[CLOSED]
    assert "f1_at_3" not in summary[ZSL][COSINE]
    for figures in (each for heads in summary.values() for each in heads.values()):
        assert all(each["low"] <= each["mean"] <= each["high"] for each in figures.values())
    assert len(summary[ZSL][COSINE]["map"]["draws"]) == 2
    assert [table.title.partition(" (")[0] for table in found.tables[:2]] == ["Zero-shot", "Generalised zero-shot"]
    assert any("The paper, on NUS-WIDE: +3.9" in each for each in found.findings)
    assert not found.missing
    json.dumps(found.to_dict())
    report = page.write(found, tmp_path).read_text()
    assert "[abstract]" in report
    assert "[mem]" not in report


def test_a_run_that_is_stopped_has_what_is_finished(done):
    stopped = Study(done.rows, done.plan, trials=done.trials[:1])
    found = reproduction(stopped)
    assert found.figures["summary"].keys() == {ZSL, GZSL}
    assert found.figures["summary"][ZSL][PLAIN]["map"]["deviation"] is None
    assert "stopped after 1 of 2 draws" in found.missing[0]


def test_nothing_of_the_unseen_labels_reaches_a_head(done, tmp_path):
    """Without their labels, the training rows give the same figures."""
    hidden = TOY.Y.copy()
    hidden[:200, 6:] = False
    without = study(filled(tmp_path / "db", hidden), draws=DRAWS[:1])
    for ours, theirs in zip(done.trials[0], without.trials[0], strict=True):
        assert ours.figures[ZSL]["map"].value == pytest.approx(theirs.figures[ZSL]["map"].value, abs=1e-6), ours.label


def test_without_tokens_the_other_heads_go_on(tmp_path):
    made = study(filled(tmp_path / "db", tokens=False), draws=DRAWS[:1], captions=None)
    found = reproduction(made)
    assert {COSINE, BANK} <= found.figures["summary"][ZSL].keys()
    assert PLAIN not in found.figures["summary"][ZSL]
    assert "attention over a single token is 1" in found.missing[0]


def test_a_task_without_test_rows_is_refused(tmp_path):
    store = Store.open(tmp_path / "db")
    fill_labels(store, TOY, splits=["train"] * 300)
    rows = Rows(store, "toy", ("toy",), store.snapshot(), texts=text_side)
    assert labels_of(rows, 1) == NAMES
    with pytest.raises(NotTrainable, match="no rows in split 'test'"):
        Study(rows, Plan(draws=DRAWS))
