"""The OpenVINO engine for CPUs. A network is converted once, kept on disk, and compiled for one, many and any rows."""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from embedder import cpus
from embedder.encoder import Graph, Pace, Run
from embedder.engines.cache import Cache
from embedder.engines.plan import PLAIN, ROWS, Plan, Streams, candidates, choose, load, save
from embedder.spec import ImagePreprocessing

# OpenVINO reports its import and every conversion to a server on the internet if it finds openvino_telemetry.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is Python's own mark for "absent"

import openvino as ov  # noqa: E402  # the line above must come first

if TYPE_CHECKING:
    import torch

_FORMAT = 2
"""Version of the cached models. Raise it when `_convert` makes them differently."""

ANY = -1
"""Batch size of a model that takes any number of rows. The rest of a large batch passes it in one piece."""


class OpenVINOEngine:
    """Runs networks on the CPU. Calls take turns, because each one uses all threads.

    Args:
        precision: fp32 or bf16; None for the first of `precisions`.
        threads: number of threads; all of the machine's when None.
    """

    def __init__(self, cache: Cache, precision: str | None = None, threads: int | None = None) -> None:
        self._cache = cache
        self._turn = Lock()
        self._core = ov.Core()
        self._precision = precision or self.precisions()[0]
        self.name = f"openvino-{self._precision}"
        self._config = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self._precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is None and (usable := cpus.usable()) < cpus.allowed():
            threads = usable  # OpenVINO sees the affinity of the process, but not its quota
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(threads)

    @staticmethod
    def precisions() -> tuple[str, ...]:
        """Return the precisions worth trying, fastest first: bf16 only if the CPU has instructions for it."""
        has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("bf16", "fp32") if has_bf16 else ("fp32",)

    @property
    def machine(self) -> str:
        return f"{self._core.get_property('CPU', 'FULL_DEVICE_NAME')}, openvino {version('openvino')}"

    def compile(self, graph: Graph) -> Run:
        if self._precision == "bf16" and graph.bf16 is not None:
            graph = graph.bf16
        folder = self._cache.folder(_key(graph), lambda folder: _convert(graph, folder / "model.xml"))
        return _Compiled(self._core, folder / "model.xml", graph, self._config, self._cache, self._turn)


class _Compiled:
    """One network. It is compiled for one row, for any number and for many rows, each when first needed."""

    pace = Pace(ROWS)

    def __init__(
        self, core: ov.Core, path: Path, graph: Graph, config: dict[str, str], cache: Cache, turn: Lock
    ) -> None:
        self._core, self._path, self._graph, self._config, self._cache = core, path, graph, config, cache
        self._turn = turn
        self._requests: dict[int, ov.InferRequest] = {}
        self._streams: Streams | None = None

    def __call__(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        with self._turn:
            return self._run(inputs)

    def _run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        parts, rows = [], len(inputs[0])
        start = self._planned(inputs)
        if start and self._streams:
            parts.append(self._streams([x[:start] for x in inputs]))
        if start < rows:
            outputs = self._request(1 if rows - start == 1 else ANY).infer([x[start:] for x in inputs])
            parts.append([outputs[i] for i in range(len(outputs))])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _planned(self, inputs: Sequence[NDArray[Any]]) -> int:
        """Return the number of rows that run by the plan. The plan is chosen at the first call with `ROWS` rows.

        A single row is never among them, because all threads together answer it soonest.
        """
        rows = len(inputs[0])
        if self._streams is None and rows >= ROWS:
            self._streams = self._side_by_side(self._plan([x[:ROWS] for x in inputs]))
        return 0 if self._streams is None or rows == 1 else rows - rows % self._streams.batch

    def _plan(self, sample: Sequence[NDArray[Any]]) -> Plan:
        if any(-1 in port.shape for port in self._graph.ports):
            return PLAIN  # the fastest plan for rows of one length says little about others
        threads = int(self._config.get("INFERENCE_NUM_THREADS") or cpus.usable())

        def measure(folder: Path) -> None:
            plan = choose(threads, lambda plan: partial(self._side_by_side(plan), sample))
            save(plan, folder)

        machine = (
            f"{self._core.get_property('CPU', 'FULL_DEVICE_NAME')}, {threads} threads, {sorted(self._config.items())}, "
            f"one of {candidates(threads)}"
        )
        digest = hashlib.sha256(f"{self._path.parent.name} on {machine}".encode()).hexdigest()
        return load(self._cache.folder(f"plan-{digest[:32]}", measure))

    def _side_by_side(self, plan: Plan) -> Streams:
        config = {"NUM_STREAMS": str(plan.streams)}
        if plan.threads is not None:  # `threads` counts logical cores, so hyper-threading must be on
            config |= {"INFERENCE_NUM_THREADS": str(plan.threads), "ENABLE_HYPER_THREADING": "YES"}
        return Streams(self._compile(plan.batch, config), plan)

    def _request(self, size: int) -> ov.InferRequest:
        if size not in self._requests:
            self._requests[size] = self._compile(size).create_infer_request()
        return self._requests[size]

    def _compile(self, size: int, more: dict[str, str] | None = None) -> ov.CompiledModel:
        model = self._core.read_model(self._path)
        model.reshape({i: [size, *port.shape] for i, port in enumerate(self._graph.ports)})
        return self._core.compile_model(model, "CPU", self._config | (more or {}))


def _key(graph: Graph) -> str:
    """Return the file name of the converted model: a hash of its identity and of every version that may change it."""
    versions = [f"{library}={version(library)}" for library in ("openvino", "torch", *graph.libraries)]
    return hashlib.sha256("\n".join([f"format {_FORMAT}", graph.key, *versions]).encode()).hexdigest()[:32]


def _convert(graph: Graph, path: Path) -> None:
    """Trace the module and save it. Scaling and normalising of images become part of the network."""
    model = _translate(graph.build(), graph)
    if graph.normalise is not None:
        model = _with_normalising(model, graph.normalise)
    ov.save_model(model, path, compress_to_fp16=False)
    if graph.keep_fp32:
        _mark_fp32(path, graph.keep_fp32)


def _mark_fp32(path: Path, modules: Sequence[str]) -> None:
    """Mark the layers of `modules` in a saved model to stay in fp32. OpenVINO reads the mark but cannot set it."""
    prefixes = tuple(f"__module.{module}{end}" for module in modules for end in "./")
    tree = ElementTree.parse(path)  # noqa: S314  # OpenVINO has just written this file
    layers = [x for x in tree.iter("layer") if x.get("name", "").startswith(prefixes) and x.get("type") != "Const"]
    for layer in layers:
        info = layer.find("rt_info")
        if info is None:
            info = ElementTree.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, info)
        ElementTree.SubElement(info, "attribute", name="precise", version="0")
    tree.write(path)


def _translate(module: "torch.nn.Module", graph: Graph) -> ov.Model:
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # OpenVINO has no counterpart of its fused operator
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns about its deprecation and about every fixed shape
            # The tracer's own check traces twice and doubles the wait. The probe compares the results anyway.
            once = {"check_trace": False}
            decoder = TorchScriptPythonDecoder(module, example_input=_example(graph), trace_kwargs=once)
            frontend = FrontEndManager().load_by_framework("pytorch")
            return frontend.convert(frontend.load(decoder))
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)


def _example(graph: Graph) -> tuple["torch.Tensor", ...]:
    """Return inputs for tracing: two rows, and length 16 where a size varies. The tracer might fix a size of 1."""
    import torch

    if graph.normalise is not None:
        return (torch.zeros(2, 3, graph.normalise.size, graph.normalise.size),)
    sizes = [[16 if size == -1 else size for size in port.shape] for port in graph.ports]
    return tuple(
        torch.ones(2, *size, dtype=getattr(torch, p.dtype)) for size, p in zip(sizes, graph.ports, strict=True)
    )


def _with_normalising(model: ov.Model, image: ImagePreprocessing) -> ov.Model:
    pipeline = ov.preprocess.PrePostProcessor(model)
    pixels = pipeline.input(0)
    pixels.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    pixels.tensor().set_shape([-1, image.size, image.size, 3])
    pixels.model().set_layout(ov.Layout("NCHW"))
    steps = pixels.preprocess().convert_element_type(ov.Type.f32)
    steps.mean([255 * value for value in image.mean]).scale([255 * value for value in image.std])
    return pipeline.build()
