"""A writer of ONNX graphs: each call adds one node, and returns the name of its result."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

OPSET = 18
"""Version of the operators, the first in which every reduction takes its axes as an input."""

LOWEST = float(np.finfo(np.float32).min)


class Writer:
    """The nodes and constants of a graph that is being written.

    Arguments of every method are names of tensors; results are too. Comments of shapes use n for rows, K for classes
    and B for the members of a fused head.

    Args:
        prefix: start of all names, so that they differ from those of a graph to which the nodes are added.
    """

    def __init__(self, prefix: str = "head.") -> None:
        self._prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: ArrayLike, dtype: type[Any] = np.float32) -> str:
        """Return the name of a new constant."""
        array: NDArray[Any] = np.array(value, dtype, order="C", copy=None)
        name = f"{self._prefix}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node of the operator `kind`, and return the name of its first output."""
        return self.ops(kind, inputs, [output or f"{self._prefix}{len(self.nodes)}"], **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """Add a node with several outputs, and return their names."""
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=f"{self._prefix}n{len(self.nodes)}", **attributes)
        )
        return outputs

    def reduced(self, kind: str, x: str, axis: int, *, keep: bool = True) -> str:
        """Add a reduction, such as `Sum` or `Max`, along one axis."""
        return self.op(f"Reduce{kind}", x, self.constant([axis], np.int64), keepdims=int(keep))

    def reshaped(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape, np.int64))

    def columns(self, x: str, low: int, high: int, axis: int = 1) -> str:
        """Return the part of x from `low` up to `high` along an axis."""
        return self.op("Slice", x, *(self.constant([each], np.int64) for each in (low, high, axis)))

    def unsqueezed(self, x: str, axis: int) -> str:
        return self.op("Unsqueeze", x, self.constant([axis], np.int64))

    def linear(self, x: str, W: NDArray[Any], b: NDArray[Any] | None = None) -> str:
        """Return x Wᵀ + b of W (out, in), for x of any rank."""
        product = self.op("MatMul", x, self.constant(np.ascontiguousarray(W.T)))
        return product if b is None else self.op("Add", product, self.constant(b))

    def scaled(self, x: str, by: ArrayLike) -> str:
        return self.op("Mul", x, self.constant(by))

    def unit(self, x: str) -> str:
        """Return the rows at unit norm; a row of zeros stays zero. Squares are of values up to 1, so none overflows."""
        largest = self._nonzero(self.reduced("Max", self.op("Abs", x), 1))
        small = self.op("Div", x, largest)
        return self.op("Div", small, self._nonzero(self.reduced("L2", small, 1)))

    def _nonzero(self, x: str) -> str:
        return self.op("Where", self.op("Equal", x, self.constant(0)), self.constant(1), x)

    def log_sum(self, x: str, axis: int, *, keep: bool = False) -> str:
        """Return log Σ exp x along an axis; -inf where all x are."""
        top = self.op("Max", self.reduced("Max", x, axis), self.constant(LOWEST))
        total = self.op("Log", self.reduced("Sum", self.op("Exp", self.op("Sub", x, top)), axis))
        found = self.op("Add", total, top)
        return found if keep else self.op("Squeeze", found, self.constant([axis], np.int64))

    def impossible(self, x: str) -> str:
        """True where x is -inf."""
        return self.op("IsInf", x, detect_positive=0)

    def chosen(self, codes: str, depth: int, worth: float = 1.0) -> str:
        """Return `worth` at the position that `codes` name along a new last axis of size `depth`, 0 elsewhere."""
        return self.op("OneHot", codes, self.constant(depth, np.int64), self.constant([0.0, worth]), axis=-1)

    def true(self, x: str) -> str:
        """Return x, 0 or 1, as truth values."""
        return self.op("Greater", x, self.constant(0.5))
