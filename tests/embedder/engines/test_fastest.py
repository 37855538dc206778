"""The engine chooses the fastest precision that keeps an encoder's vectors, and remembers it."""

from functools import partial

import numpy as np
import pytest
from helpers import clips

from embedder import probe, registry
from embedder.encoders import lite, openclip
from embedder.engines.backend import fastest_passing
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder, choose
from embedder.engines.torch_engine import TorchEngine, precisions
from embedder.errors import ProbeMismatch

PRECISIONS = ("bf16", "fp16", "fp32")


@pytest.mark.parametrize(
    ("cosines", "chosen"),
    [
        ({"bf16": 0.9995, "fp16": 0.9999}, "bf16"),
        ({"bf16": 0.9963, "fp16": 0.9999}, "fp16"),
        ({"bf16": 0.9963, "fp16": -1.0}, "fp32"),
        ({"bf16": 0.999}, "bf16"),
        ({}, "fp32"),
    ],
)
def test_the_first_that_passes_is_chosen(cosines, chosen):
    assert fastest_passing(cosines.items(), 0.999, "fp32") == chosen


def test_nothing_is_measured_after_the_first_that_passes():
    measured = iter([("bf16", 0.5), ("fp16", 0.9999), ("fp32", 1.0)])
    assert fastest_passing(measured, 0.999, "fp32") == "fp16"
    assert next(measured) == ("fp32", 1.0)


def test_every_device_ends_in_fp32():
    assert precisions("cpu") == ("fp32",)
    assert precisions("cuda")[-1] == precisions("mps")[-1] == "fp32"


@pytest.fixture(scope="module")
def blueprints(tmp_path_factory):
    """Return blueprints of lite0, whose vectors bf16 spoils, and of a small random CLIP."""
    folder = tmp_path_factory.mktemp("fastest")
    clips.register(folder)
    path = clips.save(clips.make("tiny"), folder / "tiny.safetensors")
    return {"lite0": lite.blueprint("lite0"), "clip": openclip.blueprint(f"openclip/tiny@{path}")}


def chosen(blueprint, cache, made):
    """Return the encoder on the chosen engine. The precisions of all engines that are made are appended to `made`."""

    def make(precision):
        made.append(precision)
        return TorchEngine("cpu", precision)

    engine = choose("it", blueprint, {each: partial(make, each) for each in PRECISIONS}, cache)
    return GraphEncoder("it", blueprint, engine, cache)


@pytest.mark.parametrize("name", ["lite0", "clip"])
def test_the_choice_is_the_fastest_precision_that_the_probe_accepts(blueprints, name, cache_dir, tmp_path):
    """The choice is compared with the probe of every precision, each on an engine of its own."""
    blueprint, cache = blueprints[name], Cache(tmp_path)
    reference = GraphEncoder(name, blueprint, TorchEngine("cpu", "fp32"), cache).reference_probe()
    passes = {}
    for precision in PRECISIONS:
        found = probe.embed(GraphEncoder(name, blueprint, TorchEngine("cpu", precision), cache))
        passes[precision] = bool(probe.cosines(found, reference).min() >= probe.LEAST_COSINE)
    assert passes["fp32"]
    if name == "lite0":
        assert not passes["bf16"]  # otherwise this test would show nothing
    encoder, made = chosen(blueprint, cache, []), []
    wanted = next(precision for precision in PRECISIONS if passes[precision])
    assert encoder.backend == f"torch-cpu-{wanted}"
    assert probe.check(encoder, reference) >= probe.LEAST_COSINE
    again = chosen(blueprint, cache, made)
    np.testing.assert_array_equal(probe.embed(again), probe.embed(encoder))
    assert made == list(dict.fromkeys(["bf16", wanted]))  # nothing is measured again


def test_no_engine_runs_before_it_is_needed(blueprints, tmp_path):
    encoder = chosen(blueprints["lite0"], Cache(tmp_path), made := [])
    encoder.prepare(probe.images()[0])
    assert not made
    assert not list(tmp_path.iterdir())


def test_a_precision_that_was_asked_for_is_refused_with_those_that_pass(cache_dir):
    encoder = registry.load("lite0", backend="torch-cpu-bf16", cache_dir=cache_dir)
    with pytest.raises(ProbeMismatch, match=r"torch-cpu-bf16.*too coarse; these precisions pass: fp16, fp32") as caught:
        probe.check(encoder, encoder.reference_probe())
    assert caught.value.passing == ["fp16", "fp32"]


def test_other_vectors_are_no_fault_of_the_precision(cache_dir):
    encoder = registry.load("lite0", backend="openvino-fp32", cache_dir=cache_dir)
    with pytest.raises(ProbeMismatch, match="restore them") as caught:
        probe.check(encoder, encoder.reference_probe()[::-1].copy())
    assert caught.value.passing == []
