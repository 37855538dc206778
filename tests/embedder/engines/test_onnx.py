"""ONNX files: another runtime gives our vectors, for any number of rows; errors for encoders without a network."""

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import onnxruntime
import open_clip
import openvino
import pytest
import torch
from helpers import hub_models
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from embedder import probe, registry
from embedder.derived.adapter import Adapter
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Blueprint, Graph, Port
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder
from embedder.engines.onnx import export
from embedder.engines.torch_engine import TorchEngine
from embedder.errors import ExportFailed
from embedder.spec import EncoderSpec, ImagePreprocessing
from services.cli import errors

TEXTS = ["a palace by the water", "two red flowers, close up, in the early light of a long day", "x"]
SIZE, DIM = 16, 8
PREPARED = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2,) * 3)


def photos(encoder):
    return np.stack([encoder.prepare(Image.fromarray(image)) for image in load_sample_images().images])


def in_onnxruntime(folder, name, **inputs):
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))


def least_cosine(found, wanted):
    shape = (len(wanted), -1)
    return probe.cosines(np.reshape(found, shape), np.reshape(wanted, shape)).min()


@pytest.fixture(scope="module")
def lite0(cache_dir):
    return registry.load("lite0", backend="openvino-fp32", cache_dir=cache_dir)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, cache_dir):
    """Export lite0 with the command."""
    folder = tmp_path_factory.mktemp("export") / "new" / "lite0"
    command = [sys.executable, "-m", "services.cli", "export-encoder", "lite0", str(folder), "--json"]
    done = subprocess.run(command, env=os.environ | {"HEADWATER_CACHE": str(cache_dir)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["networks"] == json.loads((folder / "spec.json").read_text())["networks"]
    assert [path.name for path in folder.parent.iterdir()] == ["lite0"]
    return folder


def test_lite0_in_onnx_runtime_gives_our_engines_vectors_tokens_and_texts(exported, lite0):
    pixels = photos(lite0)
    ours = lite0.embed(pixels, tokens=True)
    for rows in (2, 1):
        assert (
            least_cosine(in_onnxruntime(exported, "image", pixels=pixels[:rows])["vectors"], ours.vectors[:rows])
            > 0.9999
        )
        theirs = in_onnxruntime(exported, "tokens", pixels=pixels[:rows])
        assert least_cosine(theirs["vectors"], ours.vectors[:rows]) > 0.9999
        assert theirs["tokens"].shape == ours.tokens[:rows].shape
        assert least_cosine(theirs["tokens"], ours.tokens[:rows].astype(np.float32)) > 0.9999
    for texts in (TEXTS, TEXTS[2:]):
        ids, mask = lite0.blueprint.tokeniser()(texts)
        assert (
            least_cosine(in_onnxruntime(exported, "text", ids=ids, mask=mask)["vectors"], lite0.embed_texts(texts))
            > 0.9999
        )


def test_another_runtime_reads_the_file_too(exported, lite0):
    model = openvino.Core().compile_model(exported / "image.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    pixels = photos(lite0)
    assert least_cosine(model(pixels)[0], lite0.embed(pixels).vectors) > 0.9999


def test_the_folder_tells_all_that_another_runtime_needs(exported, lite0):
    told = json.loads((exported / "spec.json").read_text())
    assert EncoderSpec.from_json(json.dumps(told["spec"])) == lite0.spec
    assert told["fingerprint"] == lite0.spec.fingerprint
    assert told["networks"]["tokens"]["outputs"][1] == {"name": "tokens", "dtype": "float32", "shape": ["n", 49, 1280]}
    with np.load(exported / "check.npz") as check:
        assert check["text.texts"].tolist() == list(probe.TEXTS)
        assert least_cosine(check["text.vectors"], lite0.embed_texts(probe.TEXTS)) > 0.9999
        for name, network in told["networks"].items():
            inputs = {each["name"]: check[f"{name}.{each['name']}"] for each in network["inputs"]}
            assert {str(array.dtype) for array in inputs.values()} == {each["dtype"] for each in network["inputs"]}
            for output, found in in_onnxruntime(exported, name, **inputs).items():
                assert least_cosine(found, check[f"{name}.{output}"]) > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), [("clap", "audio"), ("siglip2", "image")])
def test_sounds_and_images_of_any_shape_in_onnx_runtime(tmp_path, name, network):
    """`export` compares the vectors itself; a file for clips takes them one by one."""
    hub_models.save(tmp_path / name, name)
    encoder = registry.load(f"hf@{tmp_path / name}", backend="torch-fp32")
    made = export(encoder, tmp_path / "out")["networks"][network]
    assert made["inputs"][0]["shape"] == ["n", *encoder.networks()[network].graph.ports[0].shape]
    assert made["cosine"] > 0.9999


def test_open_clip_in_onnx_runtime_gives_its_own_vectors(tmp_path):
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "exported-quickgelu.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    model = open_clip.create_model("exported-quickgelu", pretrained=None).eval()
    save_file(model.state_dict(), tmp_path / "tiny.safetensors")
    name = f"openclip/exported-quickgelu@{tmp_path / 'tiny.safetensors'}"
    encoder = registry.load(name, backend="torch-fp32", cache_dir=tmp_path / "cache")
    export(encoder, tmp_path / "onnx")
    pixels, ids = photos(encoder), open_clip.get_tokenizer("exported-quickgelu")(TEXTS)
    image = encoder.spec.image
    normal = (torch.from_numpy(pixels) / 255 - torch.tensor(image.mean)) / torch.tensor(image.std)
    with torch.inference_mode():
        images, texts = model.encode_image(normal.permute(0, 3, 1, 2)), model.encode_text(ids)
    assert least_cosine(in_onnxruntime(tmp_path / "onnx", "image", pixels=pixels)["vectors"], images.numpy()) > 0.9999
    found = in_onnxruntime(tmp_path / "onnx", "tokens", pixels=pixels)["tokens"]
    assert least_cosine(found, encoder.embed(pixels, tokens=True).tokens.astype(np.float32)) > 0.9999
    assert least_cosine(in_onnxruntime(tmp_path / "onnx", "text", ids=ids.numpy())["vectors"], texts.numpy()) > 0.9999


class Toy(torch.nn.Module):
    def __init__(self, kind="sound"):
        super().__init__()
        torch.manual_seed(1)
        self.convolution, self.kind = torch.nn.Conv2d(3, DIM, 3), kind

    def forward(self, x):
        vectors = self.convolution(x).relu().mean((2, 3))
        if self.kind == "untraceable" and vectors.sum().item() > 0:
            vectors = vectors + 1
        return (vectors + torch.randn_like(vectors) if self.kind == "unsteady" else vectors,)


def make(kind):
    return Toy(kind).eval().requires_grad_(False)


def toy(tmp_path, kind="sound"):
    spec = EncoderSpec(architecture="toy", weights=kind, activation="relu", output="pooled", dim=DIM, image=PREPARED)
    port = Port((SIZE, SIZE, 3), "uint8")
    build = partial(make, kind)
    image = Graph(key=kind, libraries=(), build=build, ports=(port,), normalise=PREPARED)
    return GraphEncoder("toy", Blueprint(spec=spec, image=image), TorchEngine("cpu", "fp32"), Cache(tmp_path / "cache"))


@pytest.mark.parametrize("hidden", [False, True])
def test_a_derived_encoder_is_exported_with_its_adapter(tmp_path, hidden):
    parent, random = toy(tmp_path), np.random.default_rng(0)
    shapes = {"mean": (DIM,), "weight": (5, DIM)}
    shapes |= {"hidden_weight": (6, DIM), "hidden_bias": (6,), "hidden_out": (5, 6)} if hidden else {}
    adapter = Adapter({name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()})
    encoder = DerivedEncoder(parent, StoredAdapter("toy", parent.spec.fingerprint, adapter))
    told = export(encoder, tmp_path / "onnx")
    assert list(told["networks"]) == ["image"]
    assert told["fingerprint"] == encoder.spec.fingerprint
    pixels = photos(encoder)
    found = in_onnxruntime(tmp_path / "onnx", "image", pixels=pixels)["vectors"]
    np.testing.assert_allclose(found, encoder.embed(pixels).vectors, atol=1e-5)


@pytest.mark.parametrize(("kind", "told"), [("untraceable", "torch cannot write image"), ("unsteady", "does not give")])
def test_what_would_be_wrong_is_not_left_behind(tmp_path, kind, told):
    with pytest.raises(ExportFailed, match=told):
        export(toy(tmp_path, kind), tmp_path / "out" / "onnx")
    assert not list((tmp_path / "out").iterdir())


def test_what_cannot_be_exported_says_so(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(ExportFailed, match="there exists; name a folder that does not"):
        export(toy(tmp_path), tmp_path / "there")
    with pytest.raises(ExportFailed, match="melstat is computed by code"):
        export(registry.load("melstat"), tmp_path / "onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError) as missing:
        export(toy(tmp_path), tmp_path / "onnx")
    assert "pip install 'headwater[export]'" in errors.message(missing.value)
    assert not (tmp_path / "onnx").exists()


def test_weights_too_large_for_one_message_lie_beside_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("embedder.engines.onnx._INLINE_BYTES", 100)
    encoder = toy(tmp_path)
    export(encoder, tmp_path / "onnx")
    assert (tmp_path / "onnx" / "image.onnx.data").is_file()
    pixels = photos(encoder)
    found = in_onnxruntime(tmp_path / "onnx", "image", pixels=pixels)["vectors"]
    np.testing.assert_allclose(found, encoder.embed(pixels).vectors, atol=1e-5)
