"""Inputs and rows to embed: cascades step by step, everything if an encoder is missing; no HTTP."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers.toys import EDGES, record_of

from classifiers.errors import WrongFingerprint
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.heads.fusion.cascade import sureness
from classifiers.heads.fusion.rules import log_softmax
from classifiers.published.artifact import load, save
from classifiers.published.asking import answerable, next_inputs, require
from classifiers.published.inputs import Input
from classifiers.published.manifest import EncoderBlock

ROWS = 80
INPUTS = tuple(Input(letter * 64) for letter in "abc")


@dataclass(frozen=True)
class Item:
    vector: np.ndarray | None = None
    error: str | None = None


def published(head, toy, folder, blocks=(0, 1, 2)):
    """Return the head, published in a folder, with its encoders named after the toy's blocks that it reads."""
    widths = [EDGES[b + 1] - EDGES[b] for b in blocks]
    edges = np.cumsum([0, *widths]).tolist()
    encoders = tuple(
        EncoderBlock(name=f"encoder {b}", fingerprint=INPUTS[b].fingerprint, columns=(edges[i], edges[i + 1]))
        for i, b in enumerate(blocks)
    )
    return load(save(folder / "toy", head, record_of(head, replace_columns(toy, blocks), encoders=encoders)))


def replace_columns(toy, blocks):
    return replace(toy, X=np.hstack([toy.X[:, EDGES[b] : EDGES[b + 1]] for b in blocks]))


def cascade(toy, folder, costs=(3, 1, 2), threshold=0.7):
    made = FusionClassifier(rule="cascade", blocks=EDGES, costs=costs, threshold=threshold, folds=3)
    return published(made.fit(toy.X, toy.labels).head_, toy, folder)


def embed(heads, toy, *, missing=(), broken=(), **options):
    """Run the loop as a service does. Return the items of every input, and the rows that were embedded for each."""
    blank = [Item(error="broken") if row in broken else Item() for row in range(ROWS)]
    wanted_by_heads = {each for head in heads for each in head.inputs}
    found, asked = {each: list(blank) for each in wanted_by_heads}, {}
    while wanted := next_inputs(heads, found, **options):
        for each, rows in wanted.items():
            if each in missing:
                del found[each]
                continue
            assert not set(asked.get(each, ())) & set(rows), "a row is embedded once for each input"
            asked[each] = sorted([*asked.get(each, ()), *rows])
            block = INPUTS.index(each)
            for row in rows:
                found[each][row] = Item(toy.X[row, EDGES[block] : EDGES[block + 1]])
    return found, asked


def answers_of(head, found):
    answers = {}
    for answering, vectors in answerable(head, found):
        for row, answer in zip(vectors, answering.answer(np.stack(list(vectors.values()))), strict=True):
            assert row not in answers
            answers[row] = (answering, answer)
    return answers


def reached(head, toy):
    """Return, for each step, the rows on which no earlier step is sure, from the scores of all steps at once."""
    combiner = head.head.combiner
    logs = log_softmax(head.head.member_scores(toy.X[:ROWS]), combiner.temperatures)
    sure = sureness(combiner.cascade.step_scores(logs)) >= combiner.cascade.threshold
    return {
        each: [row for row in range(ROWS) if not sure[row, :number].any()] for number, each in enumerate(head.steps)
    }


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 0.9, 2.0])
def test_a_cascade_asks_each_step_for_the_rows_that_no_earlier_step_is_sure_of(hard, tmp_path, threshold):
    head = cascade(hard, tmp_path, threshold=threshold)
    assert head.steps == (INPUTS[1], INPUTS[2], INPUTS[0])
    found, asked = embed([head], hard)
    expected = reached(head, hard)
    assert asked == {each: rows for each, rows in expected.items() if rows}
    if threshold == 0.7:
        assert ROWS > len(asked[INPUTS[2]]) > len(asked[INPUTS[0]]) > 0
    whole = head.answer(hard.X[:ROWS])
    answers = answers_of(head, found)
    assert sorted(answers) == list(range(ROWS))
    for row, (answering, answer) in answers.items():
        steps = [each for each in head.steps if row in asked.get(each, ())]
        assert len(answering.asked) == (0 if len(steps) == 3 else len(steps))
        assert answer.label == whole[row].label
        assert answer.probability == pytest.approx(whole[row].probability, abs=1e-6)
        assert answering.missing == ()


def test_a_cascade_that_must_ask_everything_asks_once_and_answers_as_the_whole(hard, tmp_path):
    head = cascade(hard, tmp_path)
    found, asked = embed([head], hard, all_steps=True)
    assert asked == {each: list(range(ROWS)) for each in INPUTS}
    assert all(answering is head for answering, _ in answers_of(head, found).values())


@pytest.mark.parametrize("missing", [{INPUTS[0]}, {INPUTS[1]}, {INPUTS[1], INPUTS[2]}])
def test_without_an_encoder_all_others_are_asked_for_every_row(hard, tmp_path, missing):
    head = cascade(hard, tmp_path, threshold=2.0)
    found, asked = embed([head], hard, missing=missing)
    assert asked == {each: list(range(ROWS)) for each in INPUTS if each not in missing}
    names = {f"encoder {INPUTS.index(each)}" for each in missing}
    assert all(set(answering.missing) == names for answering, _ in answers_of(head, found).values())
    require([head], found)


def test_a_missing_encoder_that_no_row_reaches_is_not_noticed(hard, tmp_path):
    head = cascade(hard, tmp_path, threshold=0.0)
    found, asked = embed([head], hard, missing={INPUTS[0]})
    assert asked == {INPUTS[1]: list(range(ROWS))}
    assert {answering.asked for answering, _ in answers_of(head, found).values()} == {("encoder 1",)}


def test_without_any_encoder_nothing_is_answered_and_the_problem_is_raised(hard, tmp_path):
    head = cascade(hard, tmp_path)
    found, asked = embed([head], hard, missing=set(INPUTS))
    assert (found, asked) == ({}, {})
    with pytest.raises(LookupError, match="no such encoder"):
        require([head], found, [LookupError("no such encoder")])
    with pytest.raises(WrongFingerprint, match=r"encoder 1 .* got none"):
        require([head], found)


def test_rows_that_cannot_be_embedded_are_never_asked(hard, tmp_path):
    head, broken = cascade(hard, tmp_path), {0, 7, ROWS - 1}
    found, asked = embed([head], hard, broken=broken)
    whole = embed([head], hard)[1]
    assert asked == {each: [row for row in rows if row not in broken] for each, rows in whole.items()}
    assert set(answers_of(head, found)) == set(range(ROWS)) - broken
    assert embed([head], hard, broken=set(range(ROWS)))[1] == {}


def test_cascades_and_other_heads_share_what_was_embedded(hard, tmp_path):
    first, second = cascade(hard, tmp_path / "1"), cascade(hard, tmp_path / "2", costs=(1, 3, 2))
    assert first.steps[0] != second.steps[0]
    found, asked = embed([first, second], hard)
    for head in (first, second):
        alone = embed([head], hard)[1]
        assert all(set(rows) <= set(asked[each]) for each, rows in alone.items())
        whole = head.answer(hard.X[:ROWS])
        for row, (_, answer) in answers_of(head, found).items():
            assert answer.label == whole[row].label
    other = published(FusionClassifier(blocks=EDGES, folds=0).fit(hard.X, hard.labels).head_, hard, tmp_path / "3")
    found, asked = embed([first, other], hard)
    assert asked == {each: list(range(ROWS)) for each in INPUTS}
    assert all(answering is first for answering, _ in answers_of(first, found).values())


def test_any_other_head_needs_all_it_reads(head, toy, tmp_path):
    if head.steps:
        pytest.skip("cascades are tested above")
    one = load(save(tmp_path / "toy", head, record_of(head, toy)))
    [only] = one.inputs
    assert (only.tokens, one.steps) == (head.reads_tokens, ())
    column = [Item(toy.X[0]), Item(error="broken"), Item()]
    assert next_inputs([one], {only: column}) == {only: [2]}
    [(answering, vectors)] = answerable(one, {only: column})
    assert (answering, list(vectors)) == (one, [0])
    other = Input(only.fingerprint, not only.tokens)
    assert list(answerable(one, {other: column})) == []
    if not head.partial:
        with pytest.raises(ValueError, match="all its encoders"):
            head.only([0])
        assert head.loss_without([0]) is None
    for call in (lambda: head.first_steps(1), lambda: one.unsure(toy.X)):
        with pytest.raises(ValueError, match="no steps"):
            call()
