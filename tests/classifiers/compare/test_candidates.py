"""Candidates as text, the default ones, and their controls."""

import shlex

import pytest

from classifiers.compare.candidates import (
    MAJORITY,
    NEAREST,
    SOFTMAX,
    Candidate,
    defaults,
    parse,
    parse_lines,
)
from classifiers.compare.candidates import with_controls as controlled
from classifiers.errors import BadParameter
from classifiers.training.kinds import make_estimator

ENCODERS = ["lite0", "openclip/ViT-B-32@/a b.pt"]


def test_a_line_is_tried_on_each_encoder_and_on_all_together():
    found = parse("gaussian norm=unit project=pca dims=0.9", ENCODERS)
    assert [each.encoders for each in found] == [("lite0",), (ENCODERS[1],), tuple(ENCODERS)]
    assert all(each.params == {"norm": "unit", "project": "pca", "dims": 0.9} for each in found)
    assert [each.encoders for each in parse("fusion", ENCODERS)] == [tuple(ENCODERS)]
    assert [each.encoders for each in parse("linear @ lite0", ENCODERS)] == [("lite0",)]
    assert parse("linear", ["lite0"]) == [Candidate("linear", ("lite0",))]


@pytest.mark.parametrize(
    "text", ["gaussian whiten=true dims=3", "fusion 'costs=[1, 2]'", "gaussian 'priors={\"a b\": 1}'"]
)
def test_a_label_reads_back_as_its_candidate(text):
    for candidate in parse(text, ENCODERS):
        words = shlex.split(candidate.label)
        assert words[0] == candidate.kind
        [again] = parse(f"{candidate.settings} @ {shlex.join(candidate.encoders)}", ENCODERS)
        assert again == candidate


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian norm", "name=value"),
        ("@ lite0", "kind name=value"),
        ("linear @", "kind name=value"),
        ("linear @ lite7", "lite0"),
        ("linear 'C=1", "quotation"),
    ],
)
def test_a_text_that_is_no_candidate_is_an_error(text, message):
    with pytest.raises(BadParameter, match=message):
        parse(text, ENCODERS)


def test_a_file_may_hold_comments_and_empty_lines():
    found = parse_lines(["# tried in spring", "", "linear C=0.1  # weak", "gaussian"], ["lite0"])
    assert [each.settings for each in found] == ["linear C=0.1", "gaussian"]


def test_every_default_can_be_made_and_none_is_there_twice():
    for encoders in (["a"], ["a", "b"]):
        found = controlled(defaults(encoders))
        assert len({each.label for each in found}) == len(found)
        for each in found:
            assert each.kind == MAJORITY or make_estimator(each.kind, each.params)
        assert ("fusion" in {each.kind for each in found}) == (len(encoders) > 1)


def test_class_names_are_tried_on_encoders_that_embed_texts():
    named = [each for each in defaults(["a", "b"], text_sides=["b"]) if each.kind == "zeroshot"]
    assert [(each.encoders, each.params) for each in named] == [(("b",), {"blend": "auto"})]


def test_kinds_leave_the_others_out():
    assert {each.kind for each in defaults(["a", "b"], ["mixture"])} == {"mixture"}
    assert "mixture" in {each.settings for each in defaults(["a"], ["mixture"])}


def test_controls_stand_on_every_set_of_encoders_that_is_used():
    found = controlled(parse("gaussian", ENCODERS))
    sets = {(each.control, each.encoders) for each in found if each.control}
    used = [("lite0",), (ENCODERS[1],), tuple(ENCODERS)]
    assert sets == {(control, each) for control in (NEAREST, SOFTMAX) for each in used} | {(MAJORITY, used[0])}
    asked = [each for each in controlled(parse("linear", ["lite0"])) if each.kind == "linear"]
    assert [each.control for each in asked] == [SOFTMAX]  # asked for and a control: once, as the control
