"""Encoders as ONNX files for other runtimes. Each file is one network, normalising included, and is read back at once.

The folder holds a file for each network, ``spec.json`` (the encoder's identity, how an image is prepared for the
network, names and shapes of inputs and outputs) and ``check.npz``: a few inputs and the vectors that they must give.
"""

import inspect
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedder import folders, probe
from embedder.encoder import Encoder, Graph, HasNetworks, Network, Port
from embedder.engines.torch_engine import TorchEngine
from embedder.errors import ExportFailed

if TYPE_CHECKING:
    import torch

LEAST_COSINE = 0.9999
"""Least cosine between the vectors of ONNX Runtime and those of torch, both in fp32."""

_INLINE_BYTES = 1_500_000_000
"""Weights above this size go into a file of their own, ``….onnx.data``, because a protobuf message ends at 2 GB."""


def export(encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Write all networks of `encoder` into `folder`, which appears when all are right. Return the content of spec.json.

    Raises ExportFailed for an encoder without networks, a folder that exists, a network that torch cannot trace, and a
    file that does not give the network's numbers; ModuleNotFoundError without the extra ``export``.
    """
    import onnxruntime  # noqa: F401  # a missing package fails here, not after minutes of work
    import onnxscript  # noqa: F401

    if folder.exists():
        raise ExportFailed(f"{folder} exists; name a folder that does not, or remove it")
    if not isinstance(encoder, HasNetworks):
        raise ExportFailed(f"{encoder.name} is computed by code, not by a network that ONNX could hold")
    found = encoder.networks()
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


def _written(network: Network, path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Write one file and try it. Return its entry in spec.json, and its arrays in check.npz."""
    module = _module(network)
    names = _input_names(network.graph, module)
    _write(network, module, names, path)
    wanted = TorchEngine("cpu", "fp32").compile(replace(network.graph, build=lambda: module))(network.rows)
    worst = _tried(path, dict(zip(names, network.rows, strict=True)), wanted)
    entry = {
        "file": path.name,
        "inputs": [_tensor(*each) for each in zip(names, network.graph.ports, strict=True)],
        "outputs": [
            _tensor(name, Port(rows.shape[1:], str(rows.dtype)))
            for name, rows in zip(network.outputs, wanted, strict=True)
        ],
        "cosine": round(worst, 6),
    }
    return entry, dict(zip((*names, *network.outputs), (*network.rows, *wanted), strict=True))


def _module(network: Network) -> "torch.nn.Module":
    from embedder.engines.folded import ThenAdapter

    module = network.graph.build()
    for arrays in network.adapters:
        module = ThenAdapter(module, arrays)
    return module


def _input_names(graph: Graph, module: "torch.nn.Module") -> list[str]:
    return ["pixels"] if graph.normalise else list(inspect.signature(module.forward).parameters)


def _tensor(name: str, port: Port) -> dict[str, Any]:
    shape = ["n", *("length" if size == -1 else size for size in port.shape)]
    return {"name": name, "dtype": port.dtype, "shape": shape}


def _write(network: Network, module: "torch.nn.Module", names: list[str], path: Path) -> None:
    """Write a file that takes any number of rows, and any length where the port allows it. Raises ExportFailed."""
    import torch

    from embedder.engines.folded import FromPixels

    graph = network.graph
    whole = module if graph.normalise is None else FromPixels(module, graph.normalise)
    n, length = torch.export.Dim("n"), torch.export.Dim("length")
    varying = [{0: n} | {i: length for i, size in enumerate(port.shape, 1) if size == -1} for port in graph.ports]
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on shared axes, and on deprecated parts of torch itself
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
    """Run a file in ONNX Runtime, with all rows at once and with one. Return the worst cosine. Raises ExportFailed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 1.0
    for rows in (len(wanted[0]), 1):
        found = session.run(None, {name: array[:rows] for name, array in inputs.items()})
        for have, want in zip(found, wanted, strict=True):
            if have.shape != (rows, *want.shape[1:]):
                raise ExportFailed(f"{path.name} gives {have.shape} for {rows} rows, not {(rows, *want.shape[1:])}")
            worst = min(worst, *probe.cosines(have.reshape(rows, -1), want[:rows].reshape(rows, -1)).tolist())
    if not worst >= LEAST_COSINE:
        raise ExportFailed(
            f"{path.name} does not give the network's numbers: cosine {worst:.6f} in ONNX Runtime, at least "
            f"{LEAST_COSINE} is needed; other versions of torch or onnxscript may do better"
        )
    return worst


def _spec(encoder: Encoder, networks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "encoder": encoder.name,
        "fingerprint": encoder.spec.fingerprint,
        "spec": json.loads(encoder.spec.canonical_json()),
        "networks": networks,
        "versions": {library: version(library) for library in ("headwater", "torch", "onnxscript")},
    }
