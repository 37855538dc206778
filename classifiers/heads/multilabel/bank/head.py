"""Any number of labels, trained or not: linear scores of token statistics, and a label bank for labels by text."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.heads.base import Meta, require_shapes
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import Member, Patches, kernel
from classifiers.heads.multilabel.base import Thresholds
from classifiers.heads.multilabel.text import TextHead
from classifiers.heads.text import check_text

Array = NDArray[np.float32]

CHUNK_CELLS = 2**23
"""Maximum number of floats of one intermediate result; larger batches are scored in parts."""

NOISE = 0.5
"""Variance of the noise of trained labels in the Gaussian process over labels."""

SMALLEST = np.float32(1e-9)
"""Added to deviations, so that a constant score is divided by something."""

PER_LABEL = ("linear", "constant", "mix", "slope", "bias")
"""Arrays with one row a label, besides `text`."""


class BankHead(TextHead):
    """score = slope · (linear · z + constant + mix · members) + bias + shift, for each label.

    z are the standardised `Patches.features` of an image: statistics of its tokens, and the scores of the label bank.
    `members` are scores of the label's text alone, see `Patches.score`.

    A trained label has the linear scores of a ridge regression, plus members, plus what the other labels predict for it
    (`smooth`). A label by text has a mixture of members
    and of a Gaussian process over labels, which predicts a label's linear score from those of trained labels and of
    the bank's labels with similar texts. Its parts are standardised on a few training rows, the reference rows.

    Arrays in float32, of A known labels, of which the first S were trained and L are the `classes`: text (A, F),
    linear (A, C), constant, slope and bias (A,), mix (A, M); asked int64 (L,), the rows of the classes; mean and
    deviation (C,) of the features; smooth (S, S + K), factors of the trained labels' linear scores and of the bank's
    standardised scores, which are added to the linear scores of a trained label; reference (r, P, F), tokens;
    common (2,), slope and bias of labels by text; shift (1,); and with a label bank of K labels bank_weights (K, F),
    bank_bias (K,) and bank_text (K, F).

    Attributes:
        inside: True for classes that were trained, (L,).
        bank: the label bank; None without one.
    """

    kind = "bank"
    offset = "shift"

    def __init__(
        self,
        classes: Sequence[str],
        arrays: Mapping[str, NDArray[Any]],
        settings: Mapping[str, Any],
        thresholds: Thresholds | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Make a head.

        Args:
            settings: tokens (P, F); trained, the names of the trained labels; members, a list of [name, T, τ]; weights,
                how often each member counts for a label by text; process, how often the Gaussian process counts, by
                the variance of the noise of the bank's labels; unit, see `LabelBank`; and more values to keep.
        """
        super().__init__(classes, thresholds, temperature)
        self._arrays, self._settings = dict(arrays), dict(settings)
        self.tokens = (int(settings["tokens"][0]), int(settings["tokens"][1]))
        self.reads_tokens = self.tokens[0] > 1
        self.trained = tuple(settings["trained"])
        self.members = tuple(Member(str(name), float(T), float(tau)) for name, T, tau in settings["members"])
        self.bank = bank_of(self._arrays, bool(settings["unit"]))
        self.inside = self._arrays["asked"] < len(self.trained)
        self.own = self._smoothed()
        self._mixed = self.own["mix"].any(axis=0)

    def _smoothed(self) -> dict[str, Array]:
        """Return `text` and the `PER_LABEL` arrays of the classes, with `smooth` applied."""
        S, asked = len(self.trained), self._arrays["asked"]
        own = {name: self._arrays[name][asked] for name in ("text", *PER_LABEL)}
        factors = self._arrays["smooth"][asked[self.inside]]
        if factors.any():
            own["linear"][self.inside] += combined(factors, self._arrays["linear"][:S])
            own["constant"][self.inside] += factors[:, :S] @ self._arrays["constant"][:S]
        return own

    @property
    def dim(self) -> int:
        return self.tokens[0] * self.tokens[1]

    @property
    def text(self) -> Array:
        return np.asarray(self.own["text"])

    @property
    def rivals(self) -> Array:
        """Texts of the trained labels, (S, F)."""
        return np.asarray(self._arrays["text"][: len(self.trained)])

    def score(self, X: Array) -> Array:
        """Return the scores (n, L) of flattened tokens (n, P·F), batch by batch, see `CHUNK_CELLS`."""
        widest = max(
            self.tokens[1], len(self.classes), len(self.trained), 0 if self.bank is None else len(self.bank.bias)
        )
        step = max(1, CHUNK_CELLS // (self.tokens[0] * widest))
        scores = np.empty((len(X), len(self.classes)), np.float32)
        for first in range(0, len(X), step):
            patches = Patches(X[first : first + step].reshape(-1, *self.tokens), self.bank)
            scores[first : first + step] = self._score(patches)
        return scores

    def _score(self, patches: Patches) -> Array:
        own = self.own
        raw = self._standardised(patches) @ own["linear"].T + own["constant"]
        for column in np.flatnonzero(self._mixed):
            raw += own["mix"][:, column] * self._member(patches, self.members[column], own["text"], self.inside)
        return np.asarray(own["slope"] * raw + own["bias"] + self._arrays["shift"])

    def _standardised(self, patches: Patches) -> Array:
        return np.asarray((patches.features() - self._arrays["mean"]) / self._arrays["deviation"])

    def _member(self, patches: Patches, member: Member, text: Array, inside: NDArray[np.bool_]) -> Array:
        if member.name == "rivals":
            return patches.rivalry(text, self.rivals, inside)
        return patches.score(member, text)

    def with_labels(self, classes: Sequence[str], text: ArrayLike) -> Self:
        """Return the head for other labels, without training.

        A label that the head knows already, by its name, keeps its score, up to rounding, and its threshold. All other
        labels get scores by their texts, which do not depend on each other, and the common threshold.

        Args:
            classes: names of the labels, unique, (m,) with m ≥ 1.
            text: vectors of their texts (m, F), of any norm, from the text encoder that the head was trained with.

        Raises:
            BadVectors: another width or number of vectors, or a vector of zeros.
            ValueError: names that repeat, or no names.
        """
        names = list(classes)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"labels must be at least one name, each once; got {names[:20]}")
        texts = check_text(text, len(names), self.tokens[1])
        known = dict(
            zip((*self.classes, *self.trained), (*self._arrays["asked"], *range(len(self.trained))), strict=True)
        )
        new = [place for place, name in enumerate(names) if name not in known]
        count = len(self._arrays["slope"])
        known |= {names[place]: count + number for number, place in enumerate(new)}
        rows = self._by_text(texts[new]) | {"text": texts[new]}
        arrays = {
            **self._arrays,
            **self.thresholds.over(self.classes, names).arrays(),
            **{name: np.concatenate([self._arrays[name], rows[name]]) for name in ("text", *PER_LABEL)},
            "asked": np.array([known[name] for name in names], np.int64),
        }
        return type(self).from_arrays(arrays, {**self.meta(), "classes": names})

    def _by_text(self, text: Array) -> dict[str, Array]:
        """Return the `PER_LABEL` arrays of m labels that were not trained, by their texts of norm 1, (m, F)."""
        m, slope = len(text), self._arrays["common"][0]
        mix, offset = np.zeros((m, len(self.members)), np.float32), np.zeros(m, np.float32)
        for column, count in enumerate(self._settings["weights"]):
            if count:
                found = self._member(self._reference, self.members[column], text, np.zeros(m, np.bool_))
                mix[:, column], shift = standardising(found, count)
                offset += shift
        linear = np.zeros((m, self._arrays["linear"].shape[1]), np.float32)
        for noise, count in self._settings["process"].items():
            rows, constant = self._process(text, float(noise))
            scale, shift = standardising(self._reference_features @ rows.T + constant, count)
            linear += scale[:, None] * rows
            offset += scale * constant + shift
        return {
            "linear": linear,
            "constant": offset,
            "mix": mix,
            "slope": np.full(m, slope, np.float32),
            "bias": np.full(m, self._arrays["common"][1], np.float32),
        }

    def _process(self, text: Array, noise: float) -> tuple[Array, Array]:
        """Return linear scores (m, C) and constants (m,) that a Gaussian process predicts for labels by their texts.

        The prediction is Σ_j α_j · score_j over trained labels and the bank's labels, with α = (K + N)⁻¹ k: K and k
        are `kernel` of the texts, and N has `NOISE` for trained labels and `noise` for the bank's.
        """
        S, own = len(self.trained), self._arrays
        alpha = process_weights(self.rivals, self.bank, text, noise).T.astype(np.float32)
        return combined(alpha, own["linear"][:S]), alpha[:, :S] @ own["constant"][:S]

    @cached_property
    def _reference(self) -> Patches:
        return Patches(self._arrays["reference"], self.bank)

    @cached_property
    def _reference_features(self) -> Array:
        return self._standardised(self._reference)

    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self._arrays | self.thresholds.arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], meta: Meta) -> Self:
        thresholds, own = Thresholds.split(arrays, len(meta["classes"]))
        shapes = expected_shapes(own, meta)
        require_shapes(own, shapes)
        asked, known = own["asked"], shapes["slope"][0][0]
        if len(asked) and not (asked.min() >= 0 and asked.max() < known):
            raise ValueError(f"array 'asked' must hold numbers of the {known} known labels")
        return cls(meta["classes"], own, meta["settings"], thresholds, meta["temperature"])


def combined(factors: Array, linear: Array) -> Array:
    """Return sums of linear scores (m, C): of the trained labels' `linear` (S, C), and of the bank's own columns.

    Args:
        factors: of the S trained labels and the bank's K labels, whose scores are the last K features, (m, S + K).
    """
    rows = factors[:, : len(linear)] @ linear
    rows[:, rows.shape[1] - (factors.shape[1] - len(linear)) :] += factors[:, len(linear) :]
    return np.asarray(rows)


def process_weights(trained: Array, bank: LabelBank | None, text: Array, noise: float) -> NDArray[np.float64]:
    """Return α of `BankHead._process`, (S + K, m), for the trained labels' texts (S, F) and other texts (m, F)."""
    known = trained if bank is None else np.concatenate([trained, bank.text])
    noises = np.where(np.arange(len(known)) < len(trained), NOISE, noise)
    return np.linalg.solve(kernel(known, known) + np.diag(noises), kernel(known, text))


def standardising(scores: Array, count: float) -> tuple[Array, Array]:
    """Return factors and offsets (m,) that give scores (n, m) mean 0 and deviation `count`."""
    scale = np.float32(count) / (scores.std(axis=0) + SMALLEST)
    return scale, -scale * scores.mean(axis=0)


def bank_of(arrays: Mapping[str, NDArray[Any]], unit: bool) -> LabelBank | None:
    """Return the label bank among a head's arrays; None if it has none."""
    if "bank_text" not in arrays:
        return None
    return LabelBank(arrays["bank_weights"], arrays["bank_bias"], arrays["bank_text"], unit)


def expected_shapes(arrays: Mapping[str, NDArray[Any]], meta: Meta) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and dtype that every array must have. The number of known labels is read from `slope`."""
    settings = meta["settings"]
    (P, F), M = settings["tokens"], len(settings["members"])
    A, K = length(arrays, "slope"), length(arrays, "bank_bias")
    C = (4 if P > 1 else 2) * F + K
    if len(settings["weights"]) != M or len(settings["trained"]) > A:
        raise ValueError(
            f"arrays of {A} labels do not fit the settings: {len(settings['trained'])} trained labels, {M} members"
        )
    shapes: dict[str, tuple[int, ...]] = {
        "text": (A, F),
        "linear": (A, C),
        **dict.fromkeys(("constant", "slope", "bias"), (A,)),
        "mix": (A, M),
        "mean": (C,),
        "deviation": (C,),
        "reference": (int(settings["reference"]), P, F),
        "common": (2,),
        "shift": (1,),
        "smooth": (len(settings["trained"]), len(settings["trained"]) + K),
    }
    if K:
        shapes |= {"bank_weights": (K, F), "bank_bias": (K,), "bank_text": (K, F)}
    return {"asked": ((len(meta["classes"]),), "int64")} | {name: (shape, "float32") for name, shape in shapes.items()}


def length(arrays: Mapping[str, NDArray[Any]], name: str) -> int:
    """Return the length of an array; 0 if there is none, so that its shape is refused."""
    return len(arrays[name]) if name in arrays and arrays[name].ndim else 0
