"""The base class of every head. Each kind of head implements its score function; all answers follow from it."""
# ruff: noqa: ARG002 - methods that only some heads need have a default here

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadVectors

Link = Literal["softmax", "sigmoid"]


class Meta(TypedDict):
    """Everything about a head except its kind and its arrays; JSON-serialisable."""

    classes: list[str]
    temperature: float
    settings: dict[str, Any]


def check_vectors(X: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Return `X` as float32 (n, dim), n ≥ 0, with finite values only. The input is never changed.

    Raises:
        BadVectors: another rank, width or type, or a value that is NaN, infinite or beyond float32.
    """
    given = np.asarray(X)
    if given.ndim != 2 or given.shape[1] != dim:
        raise BadVectors(f"expected vectors of shape (n, {dim}), got {given.shape}")
    if given.dtype.kind not in "fiu":
        raise BadVectors(f"expected real numbers, got dtype {given.dtype}")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which is refused below
        vectors = given.astype(np.float32, copy=False)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise BadVectors(f"row {int(np.argmin(finite))} holds NaN, infinity or a value beyond float32")
    return vectors


def probabilities(scores: NDArray[Any], link: Link = "softmax", temperature: float = 1.0) -> NDArray[Any]:
    """Return the probabilities of scores (n, outputs), which are divided by `temperature` first; same shape and dtype.

    A score of -inf (a class without a training row) gets probability 0.
    """
    scaled: NDArray[Any] = scores / scores.dtype.type(temperature)
    if link == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scaled)))
    scaled -= scaled.max(axis=1, keepdims=True, initial=np.finfo(scaled.dtype).min)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def best(proba: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Return the columns of the `k` largest values of each row, largest first, ties by column, (n, min(k, outputs))."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    k = min(k, proba.shape[1])
    if k == 1:
        return np.asarray(proba.argmax(axis=1)[:, None])
    return np.asarray(np.argsort(-proba, axis=1, kind="stable")[:, :k])


class Head(ABC):
    """Learned arrays, and the function that scores vectors with them. A head never trains and never changes.

    Attributes:
        kind: name of the kind of head, as in `HEADS`.
        link: how scores become probabilities.
        reads_tokens: True if a row of X is the flattened tokens of one image instead of its vector.
        partial: True if the head can answer from the vectors of some of its encoders, see `only`.
        classes: names of the classes or labels, in the order of the score columns, (K,).
        temperature: divides the scores before the link; 1 if the head was never calibrated.
    """

    kind: ClassVar[str]
    link: ClassVar[Link] = "softmax"
    reads_tokens: bool = False
    partial: ClassVar[bool] = False

    def __init__(self, classes: Sequence[str], temperature: float = 1.0) -> None:
        self.classes = tuple(classes)
        self.temperature = temperature

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width d of the vectors that the head accepts."""

    @abstractmethod
    def score(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores (n, outputs) of checked vectors (n, d), before temperature and link."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the learned arrays by name. `from_arrays` makes the same head from them, bit for bit.

        They are C-contiguous, as loaded arrays are: BLAS may round differently for another memory layout.
        """

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        """Return the head of these `arrays` and `meta`. Raises ValueError if shapes or names do not fit together."""

    def settings(self) -> dict[str, Any]:
        """Return the settings that the head keeps beside its arrays; JSON-serialisable."""
        return {}

    def meta(self) -> Meta:
        """Return everything about the head except its kind and its arrays."""
        return {"classes": list(self.classes), "temperature": self.temperature, "settings": self.settings()}

    def with_temperature(self, temperature: float) -> Self:
        """Return the same head with another `temperature` > 0."""
        made = copy(self)
        made.temperature = temperature
        return made

    def renamed(self, classes: Sequence[str]) -> Self:
        """Return the same head with other names of its classes, in the same order."""
        made = copy(self)
        made.classes = tuple(classes)
        return made

    def scores(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return scores before temperature and link, float32 (n, outputs). Raises BadVectors."""
        return self.score(check_vectors(X, self.dim))

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities, float32 (n, outputs). Raises BadVectors."""
        return probabilities(self.scores(X), self.link, self.temperature)

    def predict(self, X: ArrayLike) -> NDArray[np.str_]:
        """Return the most probable class of every row, (n,). Raises BadVectors."""
        return np.asarray(np.array(self.classes)[self.scores(X).argmax(axis=1)])

    def top_k(self, X: ArrayLike, k: int) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        """Return the `k` most probable classes and their probabilities, each (n, min(k, outputs)), best first."""
        proba = self.predict_proba(X)
        columns = best(proba, k)
        return np.array(self.classes)[columns], np.take_along_axis(proba, columns, axis=1)

    def log_density(self, X: ArrayLike) -> NDArray[np.float32] | None:
        """Return log p(x) under the head's own model of the vectors, in nats, (n,); None if it has no such model."""
        check_vectors(X, self.dim)
        return None

    def labels_of(self, scores: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """True for each label that a row gets (n, L), from its scores (n, L); None if a row has exactly one class."""
        return None

    def margins(self, proba: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how far each row is from another answer, (n,), by its probabilities (n, outputs).

        It is the distance of the two largest; for one class, its probability.
        """
        if proba.shape[1] < 2:
            return np.asarray(proba.sum(axis=1))
        second, first = np.partition(proba, -2, axis=1)[:, -2:].T
        return np.asarray(first - second)

    @property
    def knows_texts(self) -> bool:
        """True if the head knows its classes by the vectors of their texts, so that `with_labels` works."""
        return False

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """Return the head for other classes or labels, without training. Raises ValueError unless it `knows_texts`."""
        raise ValueError(
            f"this {self.kind} head knows only its {len(self.classes)} labels; train one with text vectors to "
            "ask it for others"
        )

    def only(self, available: Sequence[int]) -> Self:
        """Return the head that reads only these encoders' vectors, side by side. Raises ValueError unless `partial`.

        Args:
            available: numbers of the encoders, in the order of the head's columns.
        """
        raise ValueError(f"a {self.kind} head needs the vectors of all its encoders")

    def loss_without(self, available: Sequence[int]) -> float | None:
        """Return the accuracy lost with only these encoders, measured in training; None if it was not measured."""
        return None

    @property
    def steps(self) -> tuple[int, ...]:
        """Numbers of the encoders in the order in which a cascade uses them; empty for all other heads."""
        return ()

    def first_steps(self, count: int) -> Self:
        """Return the cascade for vectors of its first `count` steps. Raises ValueError for all other heads."""
        raise ValueError(f"a {self.kind} head without a cascade has no steps")

    def unsure(self, X: ArrayLike) -> NDArray[np.bool_]:
        """True for the rows of X (n, d) on which a cascade is uncertain, (n,). Raises ValueError for other heads."""
        raise ValueError(f"a {self.kind} head without a cascade has no steps")


HEADS: dict[str, type[Head]] = {}
"""The class of every kind of head, by the kind's name in manifests. `classifiers.heads` fills it."""


def require_shapes(arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
    """Raise ValueError unless `arrays` holds exactly the `expected` names, shapes and dtypes."""
    if set(arrays) != set(expected):
        raise ValueError(f"arrays are {sorted(arrays)}, expected {sorted(expected)}")
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"array {name!r} is {found.dtype} {found.shape}, expected {dtype} {shape}")
