"""Names → encoders, without torch until a model is loaded."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from embedder import registry
from embedder.engines.torch_engine import Backend
from embedder.errors import UnknownEncoder


def test_importing_it_imports_no_torch():
    code = (
        "import sys; from embedder import registry, lite, probe; lite.RECORDS['lite0'].spec.fingerprint; "
        "print([m for m in ('torch', 'timm', 'transformers', 'openvino', 'open_clip') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["", "lite9", "lite0/x", "openclip", "openclip/", "mlcd", "timm", "timm/", "nobody/nothing"]
)
def test_unknown_names_list_the_known(name):
    with pytest.raises(UnknownEncoder) as caught:
        registry.load(name)
    assert caught.value.known == registry.names()
    assert "lite0" in str(caught.value)


def test_entry_points_serve_their_family(monkeypatch, tmp_path):
    point = EntryPoint("mine", "embedder.encoder:Embedding", registry.ENTRY_POINTS)
    calls = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "headwater.encoders" else [])
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda name, **options: calls.append((name, options)) or "it")
    assert "mine" in registry.names()
    assert registry.load("mine/large", backend="torch", cache_dir=tmp_path, threads=2) == "it"
    assert calls == [("mine/large", {"backend": "torch", "cache_dir": tmp_path, "threads": 2})]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("auto", ("auto", None, None, None)),
        ("torch", ("torch", None, None, None)),
        ("torch-fp32", ("torch", None, "fp32", None)),
        ("torch-cuda-bf16", ("torch", "cuda", "bf16", None)),
        ("torch-cuda-fp16-eager", ("torch", "cuda", "fp16", "eager")),
        ("torch-compile", ("torch", None, None, "compile")),
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
        *("auto-compile", "openvino-fp32-compile", "torch-compile-fp32"),
    ],
)
def test_wrong_backend_strings_tell_the_right_ones(text):
    with pytest.raises(ValueError, match=r"unknown backend .*allowed: auto, torch or openvino"):
        registry.load("lite0", backend=text)
