"""A head as an ONNX model: vectors, or the inputs of an encoder, → calibrated probabilities. Each model is checked.

The model's metadata holds the classes in the order of the columns, the head's name and version, and its encoders.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from classifiers.errors import ExportDiffers, ExportTooLarge
from classifiers.export.scores import scores
from classifiers.export.writer import OPSET, Writer
from classifiers.heads.base import Head
from classifiers.published.head import PublishedHead

MOST_BYTES = 2_000_000_000
"""Largest model. A protobuf message ends at 2 GiB."""

TOLERANCE = 1e-4
"""Largest difference between a probability of ONNX Runtime and the head's own.

Both compute in float32, and differ in the order of sums. Measured on the heads of the tests, the difference is below
1e-5; quadratic scores of some thousands, which full covariances in hundreds of dimensions give, have rounding errors of
1e-4 before they are divided by the temperature.
"""

PROBABILITIES, LABELS = "probabilities", "labels"
"""Names of the outputs: float32 (n, K); for heads with any number of labels also truth values (n, L)."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A model that was checked.

    Attributes:
        model: the model.
        difference: largest difference of a probability from the head's own, on the rows of the check.
    """

    model: onnx.ModelProto
    difference: float


def of_vectors(published: PublishedHead, X: NDArray[np.float32]) -> Exported:
    """Return the head as a model of vectors, or of tokens, with one input for each encoder.

    Args:
        X: stored rows (n, d), n ≥ 1, on which the model is checked.

    Raises ExportTooLarge, ExportDiffers.
    """
    w, head = Writer(), published.head
    inputs = _inputs(published)
    names = list(inputs)
    parts = [w.reshaped(name, -1, int(np.prod(inputs[name]))) if len(inputs[name]) > 1 else name for name in names]
    _answers(w, head, parts[0] if len(parts) == 1 else w.op("Concat", *parts, axis=1))
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", *inputs[name]]) for name in names]
    graph = helper.make_graph(w.nodes, "head", ports, _outputs(head), _checked_size(w))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="headwater")
    model.ir_version = 10
    helper.set_model_props(model, _properties(published))
    edges = np.cumsum([0, *(int(np.prod(shape)) for shape in inputs.values())])
    columns = {
        name: X[:, low:high].reshape(-1, *inputs[name])
        for name, low, high in zip(names, edges, edges[1:], strict=False)
    }
    return _checked(model, columns, head.predict_proba(X), published)


def of_encoder(
    published: PublishedHead,
    encoder: onnx.ModelProto,
    output: str,
    inputs: Mapping[str, NDArray[Any]],
    more: Mapping[str, str],
) -> Exported:
    """Return encoder and head in one model: the encoder's inputs → probabilities.

    Args:
        encoder: the encoder's network. Its graph is changed.
        output: name of the network's output that the head reads, (n, d) or (n, P, F).
        inputs: rows for each input of the network, on which the model is checked.
        more: further metadata, such as how images are prepared.

    Raises ExportTooLarge, ExportDiffers.
    """
    w, head, graph = Writer(), published.head, encoder.graph
    wanted = head.predict_proba(_run(encoder, inputs, output, published).reshape(-1, head.dim))
    _answers(w, head, w.reshaped(output, -1, head.dim))
    constants = _checked_size(w, encoder.ByteSize())
    graph.node.extend(w.nodes)
    graph.initializer.extend(constants)
    del graph.output[:]
    graph.output.extend(_outputs(head))
    helper.set_model_props(encoder, {**_properties(published), **more})
    return _checked(encoder, inputs, wanted, published)


def _answers(w: Writer, head: Head, x: str) -> None:
    """Add the nodes from vectors x (n, d) to the outputs."""
    found = scores(w, head, x)
    calibrated = w.op("Div", found, w.constant(head.temperature))
    if head.link == "softmax":
        w.op("Softmax", calibrated, output=PROBABILITIES, axis=1)
    else:
        w.op("Sigmoid", calibrated, output=PROBABILITIES)
    for thresholds in _thresholds(head):
        w.op("GreaterOrEqual", found, w.constant(thresholds), output=LABELS)


def _thresholds(head: Head) -> list[NDArray[np.float32]]:
    """Return the score thresholds (L,) of a head with any number of labels, as the only element; [] for others."""
    return [array for name, array in head.arrays().items() if name == "thresholds"] if head.link == "sigmoid" else []


def _outputs(head: Head) -> list[onnx.ValueInfoProto]:
    shape: list[str | int | None] = ["n", len(head.classes)]
    found = [helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, shape)]
    return found + [helper.make_tensor_value_info(LABELS, onnx.TensorProto.BOOL, shape) for _ in _thresholds(head)]


def _inputs(published: PublishedHead) -> dict[str, tuple[int, ...]]:
    """Return the shape of a row for each input: `vectors` or `tokens`, or the encoders' names if there are several."""
    encoders = published.manifest.encoders
    if len(encoders) == 1:
        if published.head.reads_tokens:
            return {"tokens": tuple(getattr(published.head, "tokens", ()))}
        return {"vectors": (published.head.dim,)}
    names = [each.name for each in encoders]
    unique = names if len(set(names)) == len(names) else [f"{each.name}.{each.fingerprint[:12]}" for each in encoders]
    return {name: (each.columns[1] - each.columns[0],) for name, each in zip(unique, encoders, strict=True)}


def _properties(published: PublishedHead) -> dict[str, str]:
    head = published.head
    encoders = [{"name": each.name, "fingerprint": each.fingerprint} for each in published.manifest.encoders]
    return {
        "classes": json.dumps(list(head.classes), ensure_ascii=False),
        "head": published.name,
        "version": published.version,
        "kind": head.kind,
        "encoders": json.dumps(encoders),
    }


def _checked_size(w: Writer, more: int = 0) -> Sequence[onnx.TensorProto]:
    size = more + sum(each.ByteSize() for each in w.constants)
    if size > MOST_BYTES:
        raise ExportTooLarge(size, MOST_BYTES)
    return w.constants


def _checked(
    model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], wanted: NDArray[np.float32], published: PublishedHead
) -> Exported:
    """Return the model if ONNX Runtime gives the probabilities `wanted` (n, K), for all rows at once and for one."""
    onnx.checker.check_model(model)
    worst = 0.0
    for rows in {len(wanted), 1}:
        found = _run(model, {name: array[:rows] for name, array in inputs.items()}, PROBABILITIES, published)
        if found.shape != wanted[:rows].shape:
            raise ExportDiffers(published.name, f"its answer has the shape {found.shape}")
        worst = max(worst, float(np.abs(found - wanted[:rows]).max(initial=0.0)))
    if not worst <= TOLERANCE:
        raise ExportDiffers(
            published.name, f"a probability differs by {worst:.2g} in ONNX Runtime, at most {TOLERANCE:g} is allowed"
        )
    return Exported(model, worst)


def _run(
    model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], output: str, published: PublishedHead
) -> NDArray[np.float32]:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found: NDArray[np.float32] = session.run([output], dict(inputs))[0]
    except Exception as error:  # its own classes of errors derive from Exception alone
        raise ExportDiffers(published.name, f"ONNX Runtime cannot run it: {error}") from error
    return found
