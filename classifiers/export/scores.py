"""The scores of each kind of head as ONNX nodes, as `Head.score` computes them with NumPy. See `SCORES`."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.export.bank import bank
from classifiers.export.fusion import combined, log_softmax
from classifiers.export.writer import Writer
from classifiers.heads.base import Head
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.multilabel.bilinear import bilinear_rows
from classifiers.heads.multilabel.decoder import LAYER_NORM_EPSILON, layer_norm, relu
from classifiers.heads.transform import Transform
from classifiers.heads.zeroshot import folded

Arrays = Mapping[str, NDArray[Any]]


def scores(w: Writer, head: Head, x: str) -> str:
    """Add the nodes that score x (n, d) as the head does, and return the name of the scores (n, K)."""
    return SCORES[head.kind](w, head, x)


def transformed(w: Writer, transform: Transform, x: str) -> str:
    """Return `transform(x)`, (n, m)."""
    z = unit_blocks(w, x, transform.unit)
    if transform.matrix is not None:
        z = w.op("MatMul", z, w.constant(transform.matrix))
    if transform.offset is not None:
        z = w.op("Add", z, w.constant(transform.offset))
    return w.op("Relu", z) if transform.relu else z


def unit_blocks(w: Writer, x: str, edges: tuple[int, ...]) -> str:
    """Return x with each block of columns at unit norm; x itself without edges."""
    parts = [w.unit(x if len(edges) == 2 else w.columns(x, *each)) for each in pairwise(edges)]
    return x if not parts else parts[0] if len(parts) == 1 else w.op("Concat", *parts, axis=1)


def quadratic(w: Writer, q: Quadratic, z: str) -> str:
    """Return the components (n, C) of `Quadratic`, whose directions F stay factors: one product, then squares."""
    found = w.constant(q.b[None])
    if q.W is not None:
        found = w.op("Add", w.linear(z, q.W), found)
    if q.Q is not None:
        squares = w.op("Mul", z, z)
        squares = w.reduced("Sum", squares, 1) if q.Q.shape[1] == 1 else squares
        found = w.op("Add", w.linear(squares, q.Q), found)
    if q.F is not None and q.o is not None:
        count, rank, dim = q.F.shape
        distances = w.op("Sub", w.linear(z, q.F.reshape(-1, dim)), w.constant(q.o.reshape(1, -1)))
        squares = w.reduced("SumSquare", w.reshaped(distances, -1, count, rank), 2, keep=False)
        found = w.op("Add", w.scaled(squares, -0.5 if q.Q is None else 0.5), found)
    return found


def linear(w: Writer, head: Any, x: str) -> str:
    arrays = head.arrays()
    transform = Transform.from_arrays(head.settings(), arrays, arrays["W"].shape[1])
    return w.linear(transformed(w, transform, x), arrays["W"], arrays["b"])


def gaussian(w: Writer, head: Any, x: str) -> str:
    if head.tied:
        return quadratic(w, head.quadratic, transformed(w, head.transform.rowwise, x))
    return quadratic(w, head.quadratic, w.op("Sub", transformed(w, head.transform, x), w.constant(head.centre)))


def mixture(w: Writer, head: Any, x: str) -> str:
    components = quadratic(w, head.quadratic, transformed(w, head.transform, x))
    count = len(head.classes)
    each = len(head.quadratic.b) // count
    return components if each == 1 else w.log_sum(w.reshaped(components, -1, count, each), 2)


def zero_shot(w: Writer, head: Any, x: str) -> str:
    arrays, settings = head.arrays(), head.settings()
    M, c = folded(
        arrays["text"], arrays["centre"], settings["scale"], settings["blend"], arrays.get("W"), arrays.get("b")
    )
    return w.linear(unit_blocks(w, x, head.edges), M, c)


def bilinear(w: Writer, head: Any, x: str) -> str:
    arrays = head.arrays()
    u = w.unit(w.op("Sub", x, w.constant(arrays["centre"])))
    return w.linear(u, arrays["scale"] * bilinear_rows(arrays, head.shared), arrays["bias"])


def decoder(w: Writer, head: Any, x: str) -> str:
    """Return the scores of flattened tokens x (n, P·F)."""
    a, (tokens, width), heads = head.arrays(), head.tokens, head.heads
    queries = a["queries"] if head.text is None else relu(head.text @ a["text_W"].T + a["text_b"])
    start = layer_norm(queries + queries, a["norm1_W"], a["norm1_b"])
    count, D = start.shape
    asked = (start @ a["query_W"].T + a["query_b"]).reshape(count, heads, -1).transpose(1, 0, 2)
    E = w.op("Relu", w.linear(w.reshaped(x, -1, tokens, width), a["embed_W"], a["embed_b"]))
    keys, values = (w.reshaped(w.linear(E, a[name]), -1, tokens, heads, D // heads) for name in ("key_W", "value_W"))
    logits = w.op(
        "MatMul",
        w.constant(asked / np.float32(np.sqrt(D // heads))),
        w.op("Transpose", keys, perm=[0, 2, 3, 1]),
    )
    read = w.op("MatMul", w.op("Softmax", logits, axis=-1), w.op("Transpose", values, perm=[0, 2, 1, 3]))
    read = w.reshaped(w.op("Transpose", read, perm=[0, 2, 1, 3]), -1, count, D)
    q1 = _norm(w, w.op("Add", w.linear(read, a["attend_W"], a["attend_b"]), w.constant(start)), a, "norm2")
    hidden = w.op("Relu", w.linear(q1, a["ffn1_W"], a["ffn1_b"]))
    q2 = _norm(w, w.op("Add", q1, w.linear(hidden, a["ffn2_W"], a["ffn2_b"])), a, "norm3")
    if head.text is not None:
        return w.op("Add", w.reshaped(w.linear(q2, a["class_w"][None]), -1, count), w.constant(a["bias"]))
    grouped = w.op("MatMul", w.op("Transpose", q2, perm=[1, 0, 2]), w.constant(a["group_W"]))
    flat = w.reshaped(w.op("Transpose", grouped, perm=[1, 0, 2]), -1, count * a["group_W"].shape[2])
    return w.op("Add", w.columns(flat, 0, len(head.classes)), w.constant(a["bias"]))


def _norm(w: Writer, x: str, arrays: Arrays, name: str) -> str:
    weights = (w.constant(arrays[f"{name}_{part}"]) for part in "Wb")
    return w.op("LayerNormalization", x, *weights, axis=-1, epsilon=LAYER_NORM_EPSILON)


def fused(w: Writer, head: Any, x: str) -> str:
    blocks = [w.columns(x, *each) for each in pairwise(head.blocks.edges)]
    if head.blocks.normalise:
        blocks = [w.scaled(w.unit(b), scale) for b, scale in zip(blocks, head.blocks.scale, strict=True)]
    if head.joint is not None:
        return _spread(w, head.joint, head, scores(w, head.joint, w.op("Concat", *blocks, axis=1)))
    members = [
        w.unsqueezed(_spread(w, member, head, scores(w, member, block)), 1)
        for member, block in zip(head.members, blocks, strict=True)
    ]
    logs = log_softmax(w, w.op("Concat", *members, axis=1), head.combiner.temperatures)
    return combined(w, head.combiner, logs, blocks, len(head.classes))


def _spread(w: Writer, member: Head, head: Head, found: str) -> str:
    """Return a member's scores in the columns of the head's classes, -inf where it lacks a class."""
    if member.classes == head.classes:
        return found
    where = {name: column for column, name in enumerate(member.classes)}
    columns = w.constant([where.get(name, 0) for name in head.classes], np.int64)
    known = w.constant([[name in where for name in head.classes]], np.bool_)
    return w.op("Where", known, w.op("Gather", found, columns, axis=1), w.constant(-np.inf))


SCORES: Mapping[str, Callable[[Writer, Any, str], str]] = {
    "linear": linear,
    "labelwise": linear,
    "gaussian": gaussian,
    "mixture": mixture,
    "zeroshot": zero_shot,
    "bilinear": bilinear,
    "bank": bank,
    "decoder": decoder,
    "fusion": fused,
}
"""The nodes of every kind of head, by the name of the kind."""
