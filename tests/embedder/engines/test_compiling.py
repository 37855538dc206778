"""torch.compile where it can compile; eager mode, with one logged line, where it cannot."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from embedder.engines import torch_engine
from embedder.engines.backend import missing_for_compiling
from embedder.engines.torch_engine import TorchEngine

RUN = """
import logging, sys
import numpy as np
import torch
from embedder.encoder import Graph, Port
from embedder.engines.torch_engine import TorchEngine

logging.basicConfig(stream=sys.stdout, format="LOG %(name)s %(message)s")

def graph(key):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).eval().requires_grad_(False)
    class Tuple(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module
        def forward(self, x):
            return (self.inner(x),)
    return Graph(key=key, libraries=(), build=Tuple, ports=(Port((4,), "float32"),))

x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
for engine in (TorchEngine("cpu", "fp32", mode="compile"), TorchEngine("cpu", "fp32", mode="compile")):
    for key in "ab":
        found, = engine.compile(graph(key))([x])
        wanted, = TorchEngine("cpu", "fp32").compile(graph(key))([x])
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    print(engine.name)
"""


def run(tmp_path, **environment):
    environment |= {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    done = subprocess.run([sys.executable, "-c", RUN], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith("torch-")], [line for line in lines if "embedder" in line]


def test_a_compiler_that_fails_ends_in_eager_mode_and_one_line(tmp_path):
    names, told = run(tmp_path, CXX="/nothing/here/g++", CC="/nothing/here/gcc")
    assert names == ["torch-cpu-fp32", "torch-cpu-fp32"]
    (line,) = told
    assert "torch.compile is not used, because it failed with" in line
    assert "eager mode" in line


def missing_on_a_cpu():
    """Return what this machine lacks for `torch.compile` on the CPU, which builds Python modules in C++; else empty."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    missing = [] if shutil.which(compiler.split()[0]) else [f"a C++ compiler ({compiler})"]
    return " and ".join(missing if headers.is_file() else [*missing, f"Python's headers ({headers})"])


@pytest.mark.skipif(bool(missing_on_a_cpu()), reason=f"torch.compile cannot work here without {missing_on_a_cpu()}")
def test_a_compiler_that_works_is_used(tmp_path):
    names, told = run(tmp_path)
    assert names == ["torch-cpu-fp32-compile", "torch-cpu-fp32-compile"]
    assert not told


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return the only folder in PATH, empty, with CC not set and triton seemingly installed."""
    find_spec = importlib.util.find_spec
    triton = importlib.util.spec_from_loader("triton", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: triton if name == "triton" else find_spec(name, *rest)
    )
    return tmp_path


def program(folder, name):
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_triton_finds_gcc_and_clang(programs, name):
    assert "no C compiler" in missing_for_compiling()
    program(programs, "cc")  # triton does not look for it
    assert "no C compiler" in missing_for_compiling()
    program(programs, name)
    assert missing_for_compiling() is None


def test_cc_names_the_compiler(programs, monkeypatch):
    program(programs, "gcc")
    monkeypatch.setenv("CC", "my-cc")
    assert "'my-cc'" in missing_for_compiling()
    program(programs, "my-cc")
    assert missing_for_compiling() is None


def test_cuda_without_a_compiler_is_eager(programs, caplog):
    """Making an engine uses no device, so this test needs none."""
    torch_engine._log_eager.cache_clear()
    for _ in range(2):
        assert TorchEngine("cuda", "fp16").name == "torch-cuda-fp16"
    assert [record.getMessage() for record in caplog.records] == [
        "torch.compile is not used, because no C compiler (gcc or clang) is installed. "
        "Networks run in eager mode, which is slower."
    ]
    program(programs, "gcc")
    assert TorchEngine("cuda", "fp16").name == "torch-cuda-fp16-compile"
    assert TorchEngine("cuda", "fp16", mode="eager").name == "torch-cuda-fp16"
