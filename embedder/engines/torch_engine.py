"""Which engine runs a network, and the torch engine. torch is imported when a TorchEngine is made, not before."""

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import Graph, Run

if TYPE_CHECKING:
    import torch

ENGINES = ("auto", "torch", "openvino")
DEVICES = ("cuda", "mps", "cpu")
PRECISIONS = ("fp32", "bf16", "fp16")
MODES = ("compile", "eager")
_CHUNK = 64  # rows a pass: enough to fill a GPU, little enough for its memory


@dataclass(frozen=True, slots=True)
class Backend:
    """A request for an engine. None leaves the choice to the machine."""

    engine: str = "auto"
    device: str | None = None
    precision: str | None = None
    mode: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Backend":
        """``engine[-device][-precision][-mode]``, e.g. auto, torch-fp32, torch-cuda-bf16-eager; else ValueError."""
        engine, *rest = text.split("-")
        device = rest.pop(0) if rest and rest[0] in DEVICES else None
        precision = rest.pop(0) if rest and rest[0] in PRECISIONS else None
        mode = rest.pop(0) if rest and rest[0] in MODES else None
        allowed_device = device is None or engine == "torch" or (engine == "openvino" and device == "cpu")
        allowed = allowed_device and (engine != "openvino" or precision != "fp16") and (engine == "torch" or not mode)
        if engine not in ENGINES or rest or not allowed:
            raise ValueError(
                f"unknown backend {text!r}; allowed: auto, torch or openvino, then optionally a device for torch "
                f"(-cuda, -mps, -cpu), then a precision (-fp32, -bf16, for torch also -fp16), then for torch -compile "
                f"or -eager, e.g. torch-cuda-bf16"
            )
        return cls(engine, device, precision, mode)

    def resolve(self) -> "Backend":
        """With `auto` settled: torch on a GPU, OpenVINO on the CPU where it is installed, torch otherwise."""
        if self.engine != "auto":
            return self
        has_openvino = importlib.util.find_spec("openvino") is not None
        engine = "torch" if best_device() != "cpu" or not has_openvino else "openvino"
        return Backend(engine, precision=self.precision)


def best_device() -> str:
    """cuda, mps or cpu, found without importing torch: a CPU service must not pay seconds for the question."""
    if sys.platform == "darwin":
        return "mps" if platform.machine() == "arm64" else "cpu"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "cpu"
    count = ctypes.c_int(0)
    found = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return "cuda" if found and count.value else "cpu"


class TorchEngine:
    """Runs modules in torch: the engine of GPUs, and in fp32 on the CPU the reference for all others.

    On CUDA they are compiled (`torch.compile`) where triton is there to do it, unless `mode` says otherwise; bytes go
    to the device through pinned memory while it still computes, and pixels are normalised there.
    """

    def __init__(
        self,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        mode: str | None = None,
    ) -> None:
        import torch

        self.device = torch.device(device or _usable_device(torch))
        precision = precision or ("fp32" if self.device.type == "cpu" else "fp16")
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.mode = mode or ("compile" if self.device.type == "cuda" and _has_triton() else "eager")
        self.name = f"torch-{self.device.type}-{precision}" + ("-compile" if self.mode == "compile" else "")
        if threads is not None:
            torch.set_num_threads(threads)

    def compile(self, graph: Graph) -> Run:
        import torch

        module = self._module(graph)
        forward = torch.compile(module) if self.mode == "compile" else module

        def run(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            with torch.inference_mode():
                starts = range(0, len(inputs[0]), _CHUNK)
                parts = [forward(*self._tensors(graph, [x[i : i + _CHUNK] for x in inputs])) for i in starts]
                return [torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)]

        return run

    def _module(self, graph: Graph) -> "torch.nn.Module":
        """On the device, in the precision, in the memory layout that is fastest there, normalising included."""
        import torch

        from embedder.engines.folded import FromPixels

        module = graph.build().to(self.device, self.dtype)
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.float()  # running statistics lose too much in 16 bits; kernels take fp32 ones beside 16-bit input
        if self.device.type != "mps":
            module = module.to(memory_format=torch.channels_last)  # convolutions twice as fast on CPUs
        return module if graph.normalise is None else FromPixels(module, graph.normalise, self.dtype).to(self.device)

    def _tensors(self, graph: Graph, arrays: Sequence[NDArray[Any]]) -> list["torch.Tensor"]:
        import torch

        tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in arrays]
        if self.device.type == "cuda":  # from pinned memory the next rows are copied while the device computes
            tensors = [x.pin_memory().to(self.device, non_blocking=True) for x in tensors]
        else:
            tensors = [x.to(self.device) for x in tensors]
        if self.mode == "compile":
            for port, x in zip(graph.ports, tensors, strict=True):
                varying = [0, *(axis for axis, size in enumerate(port.shape, start=1) if size == -1)]
                torch._dynamo.maybe_mark_dynamic(x, varying)  # or every number of rows would be compiled anew
        return [x.to(self.dtype) if x.is_floating_point() else x for x in tensors]


def _has_triton() -> bool:
    """What `torch.compile` needs on CUDA; wheels for Windows come without."""
    return importlib.util.find_spec("triton") is not None


def _usable_device(torch: Any) -> str:
    """The best device that this build of torch can use."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
