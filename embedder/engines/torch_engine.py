"""The torch engine. torch is imported when a TorchEngine is made, not before."""

import logging
import platform
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder import cpus, probe
from embedder.encoder import Graph, Run
from embedder.engines.backend import missing_for_compiling
from embedder.errors import DeviceFull
from embedder.media.image import fit
from embedder.spec import ImagePreprocessing

if TYPE_CHECKING:
    import torch

log = logging.getLogger("headwater.embedder")

_CHUNK = 64
"""Rows of one pass. A network for which the device has too little memory gets fewer, see `TorchEngine.compile`."""


class TorchEngine:
    """Runs modules in torch: the engine of GPUs, and in fp32 on the CPU the reference for all other engines.

    On CUDA modules are compiled (`torch.compile`) unless `mode` is "eager". If compiling is impossible or fails, they
    run in eager mode, and one line is logged. Bytes go to a CUDA device through pinned memory while it still computes,
    and pixels are normalised there.
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
        self.precision = precision or precisions(self.device.type)[0]
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}[
            self.precision
        ]
        if self.precision == "fp8":
            _require_fp8(self.device)
        self.mode = mode or ("compile" if self.device.type == "cuda" else "eager")
        if self.mode == "compile" and self.device.type == "cuda" and (lacking := missing_for_compiling()):
            self._fall_back(lacking)
        if threads is None and (usable := cpus.usable()) < torch.get_num_threads():
            threads = usable  # PyTorch sees the affinity of the process, but not its quota
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def name(self) -> str:
        return f"torch-{self.device.type}-{self.precision}" + ("-compile" if self.mode == "compile" else "")

    @property
    def machine(self) -> str:
        import torch

        is_cuda = self.device.type == "cuda"
        return (
            f"{torch.cuda.get_device_name(self.device) if is_cuda else platform.machine()}, torch {torch.__version__}"
        )

    def compile(self, graph: Graph) -> Run:
        """Return a function that runs the network, a pass of `_CHUNK` rows at a time.

        When the device has too little memory for a pass, the network runs half as many rows from then on. The function
        raises DeviceFull if one row is too many.
        """
        import torch

        module = self._module(graph)
        forward = self._compiled(module) if self.mode == "compile" else module

        most = _CHUNK

        def run(inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
            nonlocal most
            start, parts = 0, list[tuple[torch.Tensor, ...]]()
            with torch.inference_mode():
                while start < len(inputs[0]):
                    rows = [x[start : start + most] for x in inputs]
                    try:
                        parts.append(forward(*self._tensors(graph, rows)))
                    except torch.OutOfMemoryError as error:
                        most = self._fewer(len(rows[0]), error)
                    else:
                        start += len(rows[0])
                return [torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)]

        return run

    def _fewer(self, rows: int, error: Exception) -> int:
        """Return half as many rows as the device had too little memory for. Raises DeviceFull if it was one row."""
        import torch

        if rows == 1:
            raise DeviceFull(self.device.type) from error
        log.warning("The %s device has too little memory for %d rows; passes are halved.", self.device.type, rows)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return rows // 2

    def _compiled(self, module: "torch.nn.Module") -> Callable[..., tuple["torch.Tensor", ...]]:
        """Return the module compiled, which happens at its first calls. If that fails, the module itself runs."""
        import torch

        from embedder.engines.blocks import Compiled

        compiled = Compiled(module)

        def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if self.mode == "eager":
                return compiled.eager(*inputs)
            try:
                return compiled(*inputs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # torch, triton and the C compiler raise many types
                outputs = compiled.eager(*inputs)  # a fault of the inputs is raised again here
                self._fall_back(f"it failed with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
                return outputs

        return forward

    def _fall_back(self, why: str) -> None:
        self.mode = "eager"
        _log_eager(why)

    def _module(self, graph: Graph) -> "torch.nn.Module":
        """Return the module on the device, in the precision and the fastest memory layout. It normalises images."""
        import torch

        from embedder.engines.attention import faster
        from embedder.engines.folded import FromPixels

        module = graph.build().to(self.device, self.dtype)
        if self.device.type == "cuda" or self.mode == "compile":  # in eager mode on a CPU it is the reference
            module = faster(module)
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.float()  # running statistics lose too much in 16 bits; kernels take fp32 ones beside 16-bit input
        if self.device.type != "mps":
            module = module.to(memory_format=torch.channels_last)  # convolutions twice as fast on CPUs
        if graph.normalise is None:
            return module
        network = FromPixels(module, graph.normalise, self.dtype).to(self.device)
        if self.precision == "fp8":
            self._quantise(network, graph.normalise)
        return network

    def _quantise(self, network: "torch.nn.Module", image: ImagePreprocessing) -> None:
        """Convert layers to eight bits. The probe's images decide which, so that no vector depends on a user's."""
        import torch

        from embedder.engines.fp8 import quantise

        pixels = torch.from_numpy(np.stack([fit(each, image) for each in probe.images()])).to(self.device)
        with torch.inference_mode():
            share = quantise(network, lambda: network(pixels)[0])
        log.info("%.0f%% of the weights of large layers in blocks are in eight bits; all others in bf16.", 100 * share)

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
                torch._dynamo.maybe_mark_dynamic(x, varying)  # otherwise each number of rows is compiled anew
        return [x.to(self.dtype) if x.is_floating_point() else x for x in tensors]


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions worth trying on a device, fastest first. fp16 and bf16 are equally fast; fp16 is finer."""
    return ("fp32",) if device == "cpu" else ("fp16", "bf16", "fp32")


def _require_fp8(device: "torch.device") -> None:
    from embedder.engines.fp8 import is_possible

    if not is_possible(device):
        raise ValueError(
            f"the {device.type} device does not compute in fp8, which needs an NVIDIA GPU of compute capability 8.9 or "
            f"later (RTX 40, L4, H100): use bf16 or fp16, or name no precision"
        )


@cache
def _log_eager(why: str) -> None:
    """Log, once a process, that networks are not compiled."""
    log.warning("torch.compile is not used, because %s. Networks run in eager mode, which is slower.", why)


def _usable_device(torch: Any) -> str:
    """Return the best device that this build of torch can use."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
