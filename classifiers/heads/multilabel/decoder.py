"""ML-Decoder: one cross-attention layer whose queries read the tokens of an image."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadVectors
from classifiers.heads.base import Meta, require_shapes
from classifiers.heads.multilabel.base import Thresholds
from classifiers.heads.multilabel.text import TextHead

Array = NDArray[np.float32]

LAYER_NORM_EPSILON = 1e-5
"""The default of torch, in which heads are trained."""

CHUNK_CELLS = 2**23
"""Maximum number of floats in all arrays of one batch together (32 MB). More images are scored batch by batch."""

MOST_CELLS = 2**28
"""Maximum number of floats in all arrays of one image (1 GB), so that no head takes all memory for one image."""

NEEDS_TOKENS = (
    "a decoder needs several tokens of each image: over a single vector its attention is a softmax of one number, "
    "always 1, so every label would read the same input; store tokens and train on them, or train a head of the kind "
    "labelwise or bilinear, which read one vector per image"
)


def require_tokens(shape: Sequence[int]) -> tuple[int, int]:
    """Return the shape (P, F) of an image's tokens. Raises BadVectors for another rank, and for fewer than 2 tokens."""
    if len(shape) != 2 or min(shape) < 1:
        raise BadVectors(f"expected tokens (number, width) of each image, got {tuple(shape)}: {NEEDS_TOKENS}")
    if shape[0] == 1:
        raise BadVectors(f"got one token per image: {NEEDS_TOKENS}")
    return shape[0], shape[1]


class DecoderHead(TextHead):
    """One decoder layer without positions or self-attention: Ridnik et al. 2021 (arXiv 2111.12933).

    A row is the tokens (P, F) of one image, flattened. With E = ReLU(tokens embed_Wᵀ + embed_b):

        q0 = LN1(q + q)    q1 = LN2(q0 + MHA(q0, E, E))    q2 = LN3(q1 + ffn2(ReLU(ffn1(q1))))

    There are two forms of queries. A head's arrays show which form it has:

    * `group_W`: fixed random `queries` (Q, D), each for g labels: score i·g + j = group_W[i, :, j]ᵀ q2_i + bias.
    * `text`: one query a label, ReLU(text text_Wᵀ + text_b), and one output for all: score = q2ᵀ class_w + bias. Labels
      that no training row had can be scored by their text vectors (`with_labels`).

    The attention's keys and values have no biases: the bias of a key would add the same to all logits of a query, and
    the bias of a value is part of `attend_b`.
    """

    kind = "decoder"
    reads_tokens = True
    offset = "bias"

    def __init__(
        self,
        classes: Sequence[str],
        arrays: Mapping[str, NDArray[Any]],
        tokens: tuple[int, int],
        heads: int,
        thresholds: Thresholds | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(classes, thresholds, temperature)
        self.tokens = require_tokens(tokens)
        self.heads = heads
        self._arrays = dict(arrays)
        self._start, self._asked = self._prepare_queries()
        (queries, D), hidden = self._start.shape, len(self._arrays["ffn1_W"])
        self._cells = 3 * tokens[0] * D + queries * (heads * tokens[0] + hidden + 4 * D)
        if self._cells > MOST_CELLS:
            raise ValueError(
                f"one image of {tokens[0]} tokens takes {self._cells} floats, at most {MOST_CELLS} are allowed"
            )

    @property
    def dim(self) -> int:
        return self.tokens[0] * self.tokens[1]

    @property
    def text(self) -> Array | None:
        return self._arrays.get("text")

    def _prepare_queries(self) -> tuple[Array, Array]:
        """Return the parts that no image changes: q0 (Q, D), and the scaled queries (heads, Q, D / heads)."""
        a = self._arrays
        queries = a["queries"] if self.text is None else relu(self.text @ a["text_W"].T + a["text_b"])
        start = layer_norm(queries + queries, a["norm1_W"], a["norm1_b"])
        asked = (start @ a["query_W"].T + a["query_b"]).reshape(len(start), self.heads, -1).transpose(1, 0, 2)
        return start, asked / np.float32(np.sqrt(asked.shape[-1]))

    def score(self, X: Array) -> Array:
        """Return the scores (n, L) of flattened tokens (n, P·F), batch by batch, see `CHUNK_CELLS`."""
        width = self.tokens[1]
        step = max(1, CHUNK_CELLS // self._cells)
        scores = np.empty((len(X), len(self.classes)), np.float32)
        for first in range(0, len(X), step):
            scores[first : first + step] = self._score(X[first : first + step].reshape(-1, width))
        return scores

    def _score(self, tokens: Array) -> Array:
        """Return the scores (n, L) of the tokens (n·P, F) of n images. Products have one row an image and query."""
        a, (queries, D) = self._arrays, self._start.shape
        attended = self._attend(relu(tokens @ a["embed_W"].T + a["embed_b"]))
        x = (attended @ a["attend_W"].T + a["attend_b"]).reshape(-1, queries, D) + self._start
        x = layer_norm(x, a["norm2_W"], a["norm2_b"]).reshape(-1, D)
        hidden = relu(x @ a["ffn1_W"].T + a["ffn1_b"])
        x = layer_norm(x + hidden @ a["ffn2_W"].T + a["ffn2_b"], a["norm3_W"], a["norm3_b"])
        if self.text is not None:
            return np.asarray((x @ a["class_w"] + a["bias"]).reshape(-1, queries))
        grouped = np.matmul(x.reshape(-1, queries, D).transpose(1, 0, 2), a["group_W"]).transpose(1, 0, 2)
        return np.asarray(grouped.reshape(grouped.shape[0], -1)[:, : len(self.classes)] + a["bias"])

    def _attend(self, E: Array) -> Array:
        """Return the attention output of each query over E (n·P, D), (n·Q, D). All queries share keys and values."""
        split = (-1, self.tokens[0], self.heads, self._asked.shape[-1])
        keys = (E @ self._arrays["key_W"].T).reshape(split)
        values = (E @ self._arrays["value_W"].T).reshape(split)
        weights = self._asked @ keys.transpose(0, 2, 3, 1)  # (n, heads, Q, P)
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        gathered = (weights @ values.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
        return np.asarray(gathered.reshape(-1, self._start.shape[1]))

    def settings(self) -> dict[str, Any]:
        return {"tokens": list(self.tokens), "heads": self.heads}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._arrays | self.thresholds.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        tokens, heads = require_tokens(meta["settings"]["tokens"]), int(meta["settings"]["heads"])
        thresholds, own = Thresholds.split(arrays, len(meta["classes"]))
        shapes = expected_shapes(own, len(meta["classes"]), tokens[1])
        require_shapes(own, {name: (shape, "float32") for name, shape in shapes.items()})
        D = len(own["query_W"])
        if heads < 1 or D % heads:
            raise ValueError(f"arrays {D} wide cannot be shared among {heads} heads")
        return cls(meta["classes"], own, tokens, heads, thresholds, meta["temperature"])


def expected_shapes(arrays: Mapping[str, NDArray[Any]], n_labels: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shape that every array must have. The free sizes, such as D, are read from the arrays themselves.

    Args:
        width: width F of a token.
    """
    D, H = size(arrays, "query_W", 0), size(arrays, "ffn1_W", 0)
    shapes: dict[str, tuple[int, ...]] = {
        "embed_W": (D, width),
        "embed_b": (D,),
        **{f"{name}_{part}": (D,) for name in ("norm1", "norm2", "norm3") for part in "Wb"},
        **{f"{name}_W": (D, D) for name in ("query", "key", "value", "attend")},
        **{f"{name}_b": (D,) for name in ("query", "attend")},
        "ffn1_W": (H, D),
        "ffn1_b": (H,),
        "ffn2_W": (D, H),
        "ffn2_b": (D,),
    }
    if "text" in arrays:
        T = size(arrays, "text_W", 1)
        return shapes | {"text": (n_labels, T), "text_W": (D, T), "text_b": (D,), "class_w": (D,), "bias": (1,)}
    Q = size(arrays, "queries", 0)
    return shapes | {"queries": (Q, D), "group_W": (Q, D, -(-n_labels // max(1, Q))), "bias": (n_labels,)}


def size(arrays: Mapping[str, NDArray[Any]], name: str, axis: int) -> int:
    """Return the size of an array along an axis; 0 if it has no such axis, so that its shape is refused."""
    found = arrays.get(name)
    return 0 if found is None or found.ndim <= axis else found.shape[axis]


def relu(x: Array) -> Array:
    """Return max(x, 0), computed in place."""
    return np.maximum(x, 0.0, out=x)


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """Return x with mean 0 and variance 1 along the last axis, times weight, plus bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", centred, centred)[..., None] / np.float32(x.shape[-1])
    centred /= np.sqrt(variance + np.float32(LAYER_NORM_EPSILON))
    centred *= weight
    centred += bias
    return np.asarray(centred)
