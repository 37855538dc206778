"""Prompts: sets by name, class names in words or as they are written, and which prompts are the default."""

import numpy as np
import pytest

from classifiers.errors import BadParameter
from classifiers.prompt_sets import AS_WRITTEN, SETS, spelt_out
from classifiers.prompts import PROMPTS, check_prompts, class_texts, class_vectors, words
from classifiers.training.kinds import make_estimator


def test_sets_of_imagenet_are_those_that_open_clip_ships():
    metadata = pytest.importorskip("open_clip.zero_shot_metadata")
    for name, theirs in (("imagenet80", "OPENAI_IMAGENET_TEMPLATES"), ("imagenet7", "SIMPLE_IMAGENET_TEMPLATES")):
        assert sorted(SETS[name]) == sorted(template("{}") for template in getattr(metadata, theirs))


SIZES = {"imagenet80": 80, "imagenet7": 7, "caltech101": 34, "cifar": 18, "country211": 5, "dtd": 8, "kinetics700": 28}
SIZES |= {"resisc45": 18, "stanford-cars": 8, "ucf101": 48, "fer2013": 6, "eurosat": 3, "gtsrb": 3, "common": 7}


def test_every_set_has_the_size_that_is_published_and_no_template_twice():
    for name, templates in SETS.items():
        assert len(templates) == len(set(templates)) == SIZES.get(name, len(templates))
        assert check_prompts(templates) == check_prompts(name) == templates
    assert "a demonstration of the person practicing {}." in SETS["ucf101"]
    assert "an" not in {word for templates in SETS.values() for each in templates for word in each.split()}


def test_short_forms_are_spelt_out():
    assert spelt_out("[a|the] {} [|in a game]!") == ["a {} !", "a {} in a game!", "the {} !", "the {} in a game!"]


def test_names_are_put_in_as_words_or_as_they_are_written():
    names = ["carSide", "polka-dotted", "Air_Plane"]
    assert class_texts(names, ["a {}."]) == ["a car side.", "a polka dotted.", "a air plane."]
    assert class_texts(names, ["a {label}."]) == ["a carSide.", "a polka-dotted.", "a Air_Plane."]
    assert class_texts(["a {} b", "{label}"], ["<{label}>", "<{}>"]) == [
        "<a {} b>",
        "<a {} b>",
        "<{label}>",
        "<{label}>",
    ]
    assert class_texts(names, check_prompts(f"photo{AS_WRITTEN}"))[0] == "a photo of a carSide."


def test_a_set_by_name_gives_the_vectors_of_its_templates():
    def embed(texts):
        return np.array([[len(text), text.count("a"), 1.0] for text in texts])

    for name in ("dtd", f"dtd{AS_WRITTEN}"):
        found = class_vectors(embed, ["dotted", "polkaDotted"], name, (0, 3))
        assert (found == class_vectors(embed, ["dotted", "polkaDotted"], check_prompts(name), (0, 3))).all()
    assert words("polkaDotted") == "polka dotted"


@pytest.mark.parametrize("wrong", ["imagenet", "name:written", "", ["{} {}"], ["{} {label}"], ["a photo"], [], 3, [3]])
def test_what_is_no_set_and_no_list_of_templates_is_refused(wrong):
    with pytest.raises(BadParameter, match="imagenet80"):
        check_prompts(wrong)
    with pytest.raises(BadParameter, match="imagenet80"):
        make_estimator("zeroshot", {"prompts": wrong})


@pytest.mark.parametrize("kind", ["zeroshot", "bilinear", "decoder"])
def test_the_default_depends_on_the_encoders_and_a_name_becomes_templates(kind):
    bare = ["{}"] if kind == "zeroshot" else list(PROMPTS)
    assert make_estimator(kind, {}, ["lite0", "lite1"]).prompts == bare
    assert make_estimator(kind, {}, ["lite0", "openclip/ViT-B-32/openai"]).prompts == list(PROMPTS)
    assert make_estimator(kind, {}).prompts == list(PROMPTS)
    assert make_estimator(kind, {"prompts": "stl10"}, ["lite0"]).prompts == ["a photo of a {}.", "a photo of the {}."]
