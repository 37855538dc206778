"""Encoders as ONNX files for other runtimes: a network a file, normalising included, read back before it counts.

The folder holds a file for each network, ``spec.json`` (the encoder's identity, what to do to an image before the
network, names and shapes of inputs and outputs) and ``check.npz``: a few inputs and the vectors that they must give.
"""

import inspect
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder import folders, probe
from embedder.derived.adapter import Adapter
from embedder.derived.encoders import AdaptedEncoder, CondensedEncoder
from embedder.encoder import Encoder, Graph, Port
from embedder.engines.graph_encoder import GraphEncoder
from embedder.engines.torch_engine import TorchEngine
from embedder.errors import ExportFailed

if TYPE_CHECKING:
    import torch

LEAST_COSINE = 0.9999
"""Of what ONNX Runtime makes of a file to what torch makes of the network, both in fp32."""

_INLINE_BYTES = 1_500_000_000
"""Weights above this lie in a file of their own, ``….onnx.data``: a protobuf message ends at 2 GB."""


@dataclass(frozen=True, slots=True)
class Network:
    """One file to be: a graph, a few rows of its inputs to try it with, and the names of its outputs."""

    graph: Graph
    rows: tuple[NDArray[Any], ...]
    outputs: tuple[str, ...] = ("vectors",)


def export(encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Write all networks of `encoder` into `folder`, which appears when all are right; what its spec.json says.

    Raises ExportFailed for an encoder that is no network, a folder that exists, a network that torch cannot trace,
    and a file that does not give the network's numbers; ModuleNotFoundError without the extra ``export``.
    """
    import onnxruntime  # noqa: F401  # missed now, not after minutes of work
    import onnxscript  # noqa: F401

    if folder.exists():
        raise ExportFailed(f"{folder} exists; name a folder that does not, or remove it")
    found = networks(encoder)
    made: dict[str, Any] = {}
    check: dict[str, NDArray[Any]] = {}
    with folders.writing(folder) as fresh:
        for name, network in found.items():
            made[name], arrays = _written(network, fresh / f"{name}.onnx")
            check |= {f"{name}.{tensor}": array for tensor, array in arrays.items()}
        if "text" in found:
            check["text.texts"] = np.array(probe.TEXTS)
        np.savez_compressed(fresh / "check.npz", **check)  # type: ignore[arg-type]  # its own keyword has no dot
        spec = _spec(encoder, made)
        (fresh / "spec.json").write_text(json.dumps(spec, indent=2) + "\n")
    return spec


def networks(encoder: Encoder) -> dict[str, Network]:
    """What there is to export, by file name. Raises ExportFailed for an encoder that is no network."""
    if isinstance(encoder, AdaptedEncoder):
        vectors = {name: each for name, each in networks(encoder.parent).items() if each.outputs == ("vectors",)}
        vectors.pop("text", None)
        return {name: replace(each, graph=_adapted(each.graph, encoder.adapter)) for name, each in vectors.items()}
    if isinstance(encoder, CondensedEncoder):
        raise ExportFailed(f"{encoder.name} is {encoder.parent.name} with condensed tokens; export that")
    if not isinstance(encoder, GraphEncoder):
        raise ExportFailed(f"{encoder.name} is no network of ours but code; there is nothing that ONNX could hold")
    return dict(_networks(encoder))


def _networks(encoder: GraphEncoder) -> Iterator[tuple[str, Network]]:
    plan = encoder.blueprint
    if plan.image is not None:
        pixels = np.stack([encoder.prepare(image) for image in probe.images()])
        yield "image", Network(plan.image, (pixels,))
        if plan.image_tokens is not None and plan.spec.tokens is not None:
            yield "tokens", Network(plan.image_tokens, (pixels[:2],), ("vectors", "tokens"))
    if plan.text is not None and plan.tokeniser is not None:
        yield "text", Network(plan.text, plan.tokeniser()(probe.TEXTS))
    for modality, tower in plan.towers.items():
        yield modality, Network(tower.graph, (np.stack([tower.prepare(each) for each in probe.samples(modality)]),))


def _adapted(graph: Graph, adapter: Adapter) -> Graph:
    def build() -> "torch.nn.Module":
        from embedder.engines.folded import ThenAdapter

        return ThenAdapter(graph.build(), adapter)

    return replace(graph, key=f"{graph.key} {adapter.digest}", build=build, bf16=None)


def _written(network: Network, path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Write one file and try it; what spec.json says of it, and its arrays in check.npz."""
    module = network.graph.build()
    names = _input_names(network.graph, module)
    _write(network, module, names, path)
    wanted = TorchEngine("cpu", "fp32").compile(replace(network.graph, build=lambda: module))(network.rows)
    worst = _tried(path, dict(zip(names, network.rows, strict=True)), wanted)
    told = {
        "file": path.name,
        "inputs": [_tensor(*each) for each in zip(names, network.graph.ports, strict=True)],
        "outputs": [
            _tensor(name, Port(rows.shape[1:], str(rows.dtype)))
            for name, rows in zip(network.outputs, wanted, strict=True)
        ],
        "cosine": round(worst, 6),
    }
    return told, dict(zip((*names, *network.outputs), (*network.rows, *wanted), strict=True))


def _input_names(graph: Graph, module: "torch.nn.Module") -> list[str]:
    return ["pixels"] if graph.normalise else list(inspect.signature(module.forward).parameters)


def _tensor(name: str, port: Port) -> dict[str, Any]:
    shape = ["n", *("length" if size == -1 else size for size in port.shape)]
    return {"name": name, "dtype": port.dtype, "shape": shape}


def _write(network: Network, module: "torch.nn.Module", names: list[str], path: Path) -> None:
    """Any number of rows, and any length where the port leaves it open. Raises ExportFailed."""
    import torch

    from embedder.engines.folded import FromPixels

    graph = network.graph
    whole = module if graph.normalise is None else FromPixels(module, graph.normalise)
    n, length = torch.export.Dim("n"), torch.export.Dim("length")
    varying = [{0: n} | {i: length for i, size in enumerate(port.shape, 1) if size == -1} for port in graph.ports]
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of axes that two inputs share, and of the tracer's own deprecations
            torch.onnx.export(
                whole.eval(),
                tuple(torch.from_numpy(rows[:2].copy()) for rows in network.rows),
                path,
                input_names=names,
                output_names=list(network.outputs),
                dynamic_shapes=varying,
                dynamo=True,
                external_data=size > _INLINE_BYTES,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportFailed(f"torch cannot write {path.stem} as ONNX: {error}") from error


def _tried(path: Path, inputs: Mapping[str, NDArray[Any]], wanted: list[NDArray[Any]]) -> float:
    """The worst cosine of what ONNX Runtime makes of a file, all rows at once and one alone. Raises ExportFailed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 1.0
    for rows in (len(wanted[0]), 1):
        found = session.run(None, {name: array[:rows] for name, array in inputs.items()})
        for have, want in zip(found, wanted, strict=True):
            if have.shape != (rows, *want.shape[1:]):
                raise ExportFailed(f"{path.name} gives {have.shape} for {rows} rows, not {(rows, *want.shape[1:])}")
            worst = min(worst, *_cosines(have.reshape(rows, -1), want[:rows].reshape(rows, -1)).tolist())
    if not worst >= LEAST_COSINE:
        raise ExportFailed(
            f"{path.name} does not give the network's numbers: cosine {worst:.6f} in ONNX Runtime, at least "
            f"{LEAST_COSINE} is needed; other versions of torch or onnxscript may do better"
        )
    return worst


def _cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Row by row; −1 where a row holds NaN, infinity or zeros alone."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        found: NDArray[np.float64] = (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
    return np.where(np.isfinite(found), found, -1.0)


def _spec(encoder: Encoder, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "encoder": encoder.name,
        "fingerprint": encoder.spec.fingerprint,
        "spec": json.loads(encoder.spec.canonical_json()),
        "networks": told,
        "versions": {library: version(library) for library in ("headwater", "torch", "onnxscript")},
    }
