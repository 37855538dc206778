"""Names → encoders, without torch until a model is loaded."""

import subprocess
import sys
from importlib.metadata import EntryPoint
from pkgutil import resolve_name
from types import ModuleType

import pytest

from embedder import registry
from embedder.encoders.lite.configs import CONFIGS
from embedder.engines.backend import Backend
from embedder.errors import UnknownEncoder


def test_importing_it_imports_no_torch():
    code = (
        "import sys; from embedder import probe, registry; from embedder.encoders.lite.configs import CONFIGS; "
        "CONFIGS['lite0'].spec.fingerprint; "
        "print([m for m in ('torch', 'timm', 'transformers', 'openvino', 'open_clip') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["", "lite9", "lite0/x", "openclip", "openclip/", "mlcd", "mlcd/", "timm", "timm/", "hf", "nobody/nothing"]
)
def test_unknown_names_list_the_known(name):
    with pytest.raises(UnknownEncoder) as caught:
        registry.load(name)
    assert caught.value.known == registry.names()
    assert "lite0" in str(caught.value)


def test_entry_points_serve_their_family(monkeypatch, tmp_path):
    calls = []
    module = ModuleType("a_plugin")
    module.load = lambda name, **options: calls.append((name, options)) or "it"
    monkeypatch.setitem(sys.modules, "a_plugin", module)
    point = EntryPoint("mine", "a_plugin:load", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "headwater.encoders" else [])
    assert "mine" in registry.names()
    for name in ("mine", "mine/large"):
        assert registry.load(name, backend="torch", cache_dir=tmp_path, threads=2) == "it"
        assert calls.pop() == (name, {"backend": "torch", "cache_dir": tmp_path, "threads": 2})
    with pytest.raises(UnknownEncoder):
        registry.load("mine2")


def test_every_family_has_a_loader_and_the_names_of_its_models():
    for family in registry.FAMILIES.values():
        assert callable(resolve_name(family.loader))
    assert registry.FAMILIES["lite"].names == tuple(CONFIGS)
    assert registry.names()[: len(CONFIGS)] == [*CONFIGS]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("lite0", "lite"),
        ("melstat", "melstat"),
        ("openclip/ViT-B-32/openai:tokens", "openclip"),
        ("openclip/ViT-B-32@some/file.pt", "openclip"),
        ("openclip@some/folder", "openclip"),
        ("imagebind/huge", "imagebind"),
        ("imagebind/huge@some/file.pth", "imagebind"),
        ("mlcd/base-patch32-224@some/folder", "mlcd"),
        ("mlcd@some/folder", "mlcd"),
        ("timm/resnet50.a1_in1k@file.pt", "timm"),
        ("timm/resnet50", "timm"),
        ("hf/google/siglip2-base-patch16-224", "hf"),
        ("hf/laion/clap-htsat-unfused@refs/pr/3", "hf"),
        ("hf@some/folder", "hf"),
        *((name, None) for name in ("lite", "lite0@x", "melstat/x", "imagebind", "imagebind/other", "mlcdx")),
    ],
)
def test_a_name_belongs_to_one_family(name, family):
    takes = [word for word, row in registry.FAMILIES.items() if row.takes(name)]
    assert takes == ([family] if family else [])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("auto", ("auto", None, None, None)),
        ("torch", ("torch", None, None, None)),
        ("torch-fp32", ("torch", None, "fp32", None)),
        ("torch-cuda-bf16", ("torch", "cuda", "bf16", None)),
        ("torch-cuda-fp8", ("torch", "cuda", "fp8", None)),
        ("torch-cuda-fp16-eager", ("torch", "cuda", "fp16", "eager")),
        ("torch-compile", ("torch", None, None, "compile")),
        ("torch-cuda:1", ("torch", "cuda:1", None, None)),
        ("torch-cuda:0,3-bf16", ("torch", "cuda:0,3", "bf16", None)),
        ("torch-cuda:all-fp16-eager", ("torch", "cuda:all", "fp16", "eager")),
        ("openvino-bf16", ("openvino", None, "bf16", None)),
        ("auto-fp32", ("auto", None, "fp32", None)),
    ],
)
def test_backend_strings(text, parts):
    backend = Backend.parse(text)
    assert (backend.engine, backend.device, backend.precision, backend.mode) == parts


@pytest.mark.parametrize(
    "text",
    [
        *("", "tensorrt", "torch-int8", "torch-fp32-cuda", "openvino-cuda", "openvino-fp16", "auto-cuda"),
        *("torch-cuda:", "torch-cuda:0,", "torch-cuda:x", "torch-cpu:0", "openvino-cuda:0"),
        *("openvino-fp8", "auto-fp8"),
        *("auto-compile", "openvino-fp32-compile", "torch-compile-fp32"),
    ],
)
def test_wrong_backend_strings_tell_the_right_ones(text):
    with pytest.raises(ValueError, match=r"unknown backend .*allowed: auto, torch or openvino"):
        registry.load("lite0", backend=text)


@pytest.mark.parametrize(
    ("backend", "device", "precision"),
    [
        ("openvino-bf16", None, "bf16"),
        ("torch-cpu-fp32", "cpu", "fp32"),
        ("torch-cuda-fp16-compile", "cuda", "fp16"),
        ("torch-cuda:1-fp8", "cuda:1", "fp8"),
        ("an engine of another package-mps-bf16", "mps", "bf16"),
        ("numpy", None, None),
    ],
)
def test_the_name_of_a_backend_says_device_and_precision(backend, device, precision):
    named = Backend.named(backend)
    assert (named.device, named.precision) == (device, precision)
