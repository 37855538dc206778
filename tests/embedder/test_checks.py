"""The check-suite: every encoder passes every check, and a broken encoder fails with the promise that it breaks."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from helpers import binds, clips, hub_models
from helpers.paths import ROOT
from helpers.towers import mlcd, openclip, timm_tower
from PIL import Image

from embedder import checks, registry
from embedder.derived.adapter import Adapter
from embedder.derived.condenser import Condenser
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Embedding

PLUGIN = ROOT / "examples" / "encoder_plugin"
NAMES = {
    "lite0": "lite0",
    "lite1": "lite1",
    "lite2": "lite2",
    "melstat": "melstat",
    "mlcd": "mlcd@{folder}/MLCDVision",
    "mlcd, a CLIP tower": "mlcd@{folder}/CLIPVision",
    "timm, a transformer": "timm/test_vit@{folder}/vit.safetensors",
    "timm, a convolutional network": "timm/test_resnet@{folder}/resnet.pt",
    "hf, images and texts": "hf@{folder}/siglip",
    "hf, sounds and texts": "hf@{folder}/clap",
    "hf, images of any shape": "hf@{folder}/siglip2",
    "hf, sounds of any length": "hf@{folder}/pe_audio",
    "openclip": "openclip/suite@{folder}/suite.safetensors",
    "openclip, a folder": "openclip@{folder}/hub",
    "imagebind": "imagebind/huge@{folder}/small.pth",
}
EXAMPLES = ("colours", "textures")
WITH_PUBLISHED_WEIGHTS = {"imagebind/huge", "mlcd/", "hf/"}
"""Beginnings of names whose weights are downloaded; the same code runs for weights of one's own."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with weights for every family that loads them."""
    folder = tmp_path_factory.mktemp("suite")
    for kind in ("MLCDVision", "CLIPVision"):
        mlcd(folder / kind, kind)
    timm_tower(folder / "vit.safetensors", "test_vit")
    timm_tower(folder / "resnet.pt", "test_resnet")
    for name in ("siglip", "clap", "siglip2", "pe_audio"):
        hub_models.save(folder / name, name)
    openclip(folder, "suite")
    clips.register(folder)
    clips.save_folder(clips.make("tiny"), "tiny", folder / "hub", file="open_clip_model.safetensors")
    binds.save(binds.build(), folder / "small.pth")
    return folder


@pytest.fixture(scope="module")
def example():
    """Return an importer of the example's modules; tests/services/test_plugin.py installs the example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PLUGIN)
        yield lambda name: importlib.import_module(f"example_encoders.{name}")


@pytest.fixture(scope="module")
def load(folder, cache_dir, example):
    """Return a loader (family, backend) → encoder that makes each encoder once, so networks are compiled once."""
    made = {}

    def load(family, backend="openvino-fp32"):
        if (family, backend) not in made:
            made[family, backend] = anew(family, backend)
        return made[family, backend]

    def anew(family, backend):
        if family in DERIVED:
            return DERIVED[family](load("lite0", backend))
        if family in EXAMPLES:
            return example(family).load(family, backend=backend, cache_dir=cache_dir, threads=None)
        name = NAMES[family].format(folder=folder)
        return registry.load(name, backend=backend, cache_dir=cache_dir, accept_noncommercial=True)

    return load


def adapted(parent):
    random = np.random.default_rng(0)
    arrays = {"mean": random.normal(size=1280, scale=0.01), "weight": random.normal(size=(6, 1280))}
    adapter = Adapter({name: array.astype(np.float32) for name, array in arrays.items()})
    return DerivedEncoder(parent, StoredAdapter("lite0", parent.spec.fingerprint, adapter, {"rows": 3}))


def condensed(parent):
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(1280, 6)))[0].T
    arrays = {"pool": np.ones(1) * 2, "mean": np.zeros(1280), "components": axes}
    condenser = Condenser({name: array.astype(np.float32) for name, array in arrays.items()})
    return DerivedEncoder(parent, StoredAdapter("lite0", parent.spec.fingerprint, condenser))


DERIVED = {"adapted": adapted, "condensed": condensed}


def test_every_built_in_family_is_checked():
    for row in registry.FAMILIES.values():
        for start in {pattern.partition("<")[0] for pattern in row.names}:
            assert any(name.startswith(start) for name in NAMES.values()) or start in WITH_PUBLISHED_WEIGHTS


SLOW = ("lite1", "lite2", "hf, images of any shape", "hf, sounds of any length")
"""The code of lite0 with other numbers, and families that `make test` tries in test_hf_naflex and test_hf_waves."""
FAMILIES = [
    *(name for name in (*NAMES, *DERIVED, *EXAMPLES) if name not in SLOW),
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_every_encoder_keeps_every_promise(load, family, check):
    check(load(family))


@pytest.mark.parametrize(
    ("family", "backend"),
    [
        ("lite0", "openvino-bf16"),
        ("mlcd", "openvino-bf16"),
        ("timm, a transformer", "torch-cpu-bf16"),
        ("openclip", "openvino-bf16"),
        ("textures", "torch-cpu-bf16"),
    ],
)
def test_so_they_do_in_16_bits(load, family, backend):
    checks.check_encoder(load(family, backend))


class Breaks:
    """`colours`, with one method or attribute replaced."""

    def __init__(self, colours, **replaced):
        self._colours = colours
        for name, value in replaced.items():
            setattr(self, name, value)

    def __getattr__(self, name):
        return getattr(self._colours, name)


def embedding(change):
    """Return an `embed` that changes the vectors of the intact one: change(vectors, inputs) → vectors."""

    def make(sound):
        def embed(inputs, *, modality="image", tokens=False):
            vectors = sound.embed(inputs, modality=modality, tokens=tokens).vectors
            return Embedding(change(vectors, inputs))

        return {"embed": embed}

    return make


def spoilt(vectors, inputs):
    inputs[...] = 0
    return vectors


class Shared:
    """Returns views of one buffer, like an engine that does not copy its outputs."""

    buffer = np.zeros((64, 125), np.float32)

    def __call__(self, vectors, _):
        self.buffer[: len(vectors)] = vectors
        return self.buffer[: len(vectors)]


def whatever(sound):
    """Return an `embed` that takes any input."""

    def embed(inputs, *, modality="image", tokens=False):
        pixels = np.zeros((len(inputs), 64, 64, 3), np.uint8)
        return sound.embed(np.resize(inputs, pixels.shape).astype(np.uint8) if inputs.size else pixels, tokens=tokens)

    return {"embed": embed}


def drawn_on(sound):
    def prepare(media):
        if isinstance(media, Image.Image):
            media.putpixel((0, 0), (media.getpixel((0, 0))[0] ^ 1, 0, 0))
        return sound.prepare(media)

    return {"prepare": prepare}


FAULTS = {
    "float64": (embedding(lambda v, _: v.astype(np.float64)), r"float32 \(0, 125\).* not float64"),
    "a column too few": (embedding(lambda v, _: v[:, 1:].copy()), r"float32 \(0, 125\).* not float32 \(0, 124\)"),
    "not finite": (embedding(lambda v, _: v / np.float32(0)), "must be finite"),
    "blind": (embedding(lambda v, _: np.ones_like(v)), "different assets"),
    "by batch": (embedding(lambda v, _: v - v[:1] * (len(v) > 5)), "one by one"),
    "unit only in batches": (embedding(lambda v, _: v * len(v)), "one by one"),
    "random": (
        embedding(lambda v, _: v + np.random.default_rng().normal(size=v.shape).astype("f") / 1e3),
        "equal vectors",
    ),
    "shared memory": (embedding(Shared()), "must not change earlier vectors"),
    "spoils its inputs": (embedding(spoilt), "must not change its inputs"),
    "takes anything": (whatever, "must refuse float32"),
    "draws on its images": (drawn_on, r"must not change the asset \(image\)"),
    "answers texts": (lambda _: {"embed_texts": lambda texts: np.zeros((len(texts), 125), "f")}, "spec.text is None"),
    "another probe": (lambda s: {"reference_probe": lambda: s.reference_probe()[::-1].copy()}, "reference_probe"),
    "no name": (lambda _: {"name": ""}, "name"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_a_broken_encoder_fails_with_the_promise_that_it_breaks(load, fault):
    sound = load("colours")  # passes all checks, as the test above shows
    change, said = FAULTS[fault]
    with pytest.raises(AssertionError, match=said):
        checks.check_encoder(Breaks(sound, **change(sound)))


def test_the_suite_needs_no_torch():
    code = (
        "import sys; from embedder import checks; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
