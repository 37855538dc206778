"""Backends: the engine, device and precision that run a network. Importing this module imports no torch."""

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

ENGINES = ("auto", "torch", "openvino")
DEVICE = re.compile(r"cuda(:\d+(,\d+)*|:all)?|mps|cpu")
"""A device of torch. cuda:1 is the second GPU, cuda:0,1 are the first two, cuda:all is every GPU of the machine."""

PRECISIONS = ("fp32", "bf16", "fp16", "fp8")
MODES = ("compile", "eager")


@dataclass(frozen=True, slots=True)
class Backend:
    """A request for an engine. None leaves the choice to the machine."""

    engine: str = "auto"
    device: str | None = None
    precision: str | None = None
    mode: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Backend":
        """Parse ``engine[-device][-precision][-mode]``, e.g. auto, torch-fp32, torch-cuda:all-bf16-eager.

        Raises ValueError for any other text.
        """
        engine, *rest = text.split("-")
        device = rest.pop(0) if rest and DEVICE.fullmatch(rest[0]) else None
        precision = rest.pop(0) if rest and rest[0] in PRECISIONS else None
        mode = rest.pop(0) if rest and rest[0] in MODES else None
        allowed_device = device is None or engine == "torch" or (engine == "openvino" and device == "cpu")
        allowed_precision = engine == "torch" or (precision != "fp8" and (engine, precision) != ("openvino", "fp16"))
        allowed = allowed_device and allowed_precision and (engine == "torch" or not mode)
        if engine not in ENGINES or rest or not allowed:
            raise ValueError(
                f"unknown backend {text!r}; allowed: auto, torch or openvino, then optionally a device for torch "
                f"(-cuda, -cuda:1, -cuda:0,1, -cuda:all, -mps, -cpu), then a precision (-fp32, -bf16, for torch also "
                f"-fp16 and -fp8), then for torch -compile or -eager, e.g. torch-cuda-bf16"
            )
        return cls(engine, device, precision, mode)

    @classmethod
    def named(cls, name: str) -> "Backend":
        """Return what the name of an encoder's backend says, e.g. torch-cuda-bf16-compile. What it lacks is None.

        Encoders of other packages may name an engine of their own.
        """
        engine, *parts = name.split("-")

        def found(known: Callable[[str], object]) -> str | None:
            return next(filter(known, parts), None)

        return cls(engine, found(DEVICE.fullmatch), found(PRECISIONS.__contains__), found(MODES.__contains__))

    def resolve(self) -> "Backend":
        """Replace `auto`: torch on a GPU, OpenVINO on the CPU if it is installed, otherwise torch."""
        if self.engine != "auto":
            return self
        has_openvino = importlib.util.find_spec("openvino") is not None
        engine = "torch" if best_device() != "cpu" or not has_openvino else "openvino"
        return Backend(engine, precision=self.precision)


def fastest_passing(cosines: Iterable[tuple[str, float]], least: float, otherwise: str) -> str:
    """Return the first precision whose cosine is at least `least`, or `otherwise` if none is.

    Args:
        cosines: (precision, worst cosine to the reference vectors), fastest precision first. Later items are not read
            once one passes, so that they need not be measured.
    """
    return next((precision for precision, cosine in cosines if cosine >= least), otherwise)


def best_device() -> str:
    """Return cuda, mps or cpu. Imports no torch, because a CPU service should not wait seconds for the answer."""
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "cpu"
    count = ctypes.c_int(0)
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return "cuda" if found and count.value else "cpu"


def missing_for_compiling() -> str | None:
    """Return what `torch.compile` lacks on CUDA, or None if nothing is missing.

    It needs triton, which wheels for Windows come without, and triton needs a C compiler: the program named by CC, or
    gcc or clang.
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    compiler = os.environ.get("CC")
    if compiler is not None:
        return None if shutil.which(compiler) else f"the C compiler {compiler!r}, which CC names, is not installed"
    return None if shutil.which("gcc") or shutil.which("clang") else "no C compiler (gcc or clang) is installed"
