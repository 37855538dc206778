"""The torch engine. torch is imported when a TorchEngine is made, not before."""

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder import cpus, probe
from embedder.encoder import Graph, Pace, Run
from embedder.engines.backend import missing_for_compiling
from embedder.engines.cache import Cache
from embedder.engines.rows.devices import Device, Forward, HostDevice
from embedder.engines.rows.few import FewRows
from embedder.engines.rows.measured import CANDIDATES, fewest
from embedder.engines.rows.passes import Passes
from embedder.media.image import fit
from embedder.spec import ImagePreprocessing

if TYPE_CHECKING:
    import torch

log = logging.getLogger("headwater.embedder")

_UNMEASURED = 64
"""Rows of a pass where they are not measured: on a CPU, and for inputs of varying length."""


class TorchEngine:
    """Runs modules in torch: the engine of GPUs, and in fp32 on the CPU the reference for all other engines.

    On CUDA modules are compiled (`torch.compile`) unless `mode` is "eager". If compiling is impossible or fails, they
    run in eager mode, and one line is logged. How rows get to a CUDA device and back: `embedder.engines.rows.cuda`.

    Args:
        device: cuda, cuda:1, mps or cpu; the best one that this build of torch can use when None.
        cache: remembers the measured rows of a pass. None to measure them in each process.
        graphs: False to launch passes of few rows kernel by kernel, without CUDA graphs.
    """

    def __init__(
        self,
        device: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        mode: str | None = None,
        cache: Cache | None = None,
        graphs: bool = True,
    ) -> None:
        import torch

        self.device = torch.device(device or _usable_device(torch))
        self._cache, self._graphs = cache, graphs
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
        """Return a function that runs the network in passes, as many rows at a time as the device has memory for.

        The function raises DeviceFull if one row is too many.
        """
        module = self._module(graph)
        forward = partial(self._forward, graph, self._compiled(module) if self.mode == "compile" else module)
        if self.device.type != "cuda":
            return Passes(
                HostDevice(self.device), self.device.type, forward, rows=lambda: _UNMEASURED, rows_of_a_call=Pace().rows
            )
        from embedder.engines.rows.cuda import shared, wait_for_weights

        wait_for_weights(self.device)
        device, fixed = shared(self.device), not any(-1 in port.shape for port in graph.ports)
        few = FewRows(device.recorder(forward, graph.ports)) if fixed and self._graphs else None
        rows = partial(self._rows, graph, device, forward) if fixed else lambda: _UNMEASURED
        return Passes(device, self.device.type, forward, rows, few)

    def _rows(self, graph: Graph, device: Device, forward: Forward) -> int:
        """Return the rows of a pass: measured once, then remembered in the cache."""
        rehearse = partial(device.rehearse, forward, graph.ports)
        rows = fewest(rehearse) if self._cache is None else self._remembered(graph, self._cache, rehearse)
        device.free()
        return rows

    def _remembered(self, graph: Graph, cache: Cache, rehearse: Callable[[int], bool]) -> int:
        facts = [graph.key, self.name, self.machine, self._memory(), CANDIDATES]
        key = f"rows-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"

        def measure(folder: Path) -> None:
            (folder / "rows.json").write_text(json.dumps(fewest(rehearse)))

        rows = int(json.loads((cache.folder(key, measure) / "rows.json").read_text()))
        rehearse(rows)  # compiles the network here, where no other encoder waits for it
        return rows

    def _memory(self) -> int:
        """Return the memory of the device in bytes."""
        import torch

        return int(torch.cuda.get_device_properties(self.device).total_memory)

    def _forward(
        self, graph: Graph, network: "Callable[..., Sequence[torch.Tensor]]", *inputs: "torch.Tensor"
    ) -> "Sequence[torch.Tensor]":
        """Run the network on tensors of the device: floats in the precision of the engine, outputs in fp32."""
        tensors = [x.to(self.dtype) if x.is_floating_point() else x for x in inputs]
        if self.mode == "compile":
            import torch

            for port, x in zip(graph.ports, tensors, strict=True):
                varying = [0, *(axis for axis, size in enumerate(port.shape, start=1) if size == -1)]
                torch._dynamo.maybe_mark_dynamic(x, varying)  # otherwise each number of rows is compiled anew
        return [y.float() for y in network(*tensors)]

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


def torch_devices(wanted: str | None) -> list[str]:
    """Return the devices that a backend names: ["cuda:0", "cuda:1"] for cuda:0,1, and every one for cuda:all.

    Args:
        wanted: None for the best device that this build of torch can use.
    """
    import torch

    kind, _, which = (wanted or _usable_device(torch)).partition(":")
    if which == "all":
        return [f"{kind}:{index}" for index in range(torch.cuda.device_count())] or [kind]
    return [f"{kind}:{index}" for index in which.split(",")] if which else [kind]


def _usable_device(torch: Any) -> str:
    """Return the best device that this build of torch can use."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
