"""Zero-shot classification by class texts, alone or blended with what labels say, as a scikit-learn estimator."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import validate_data

from classifiers.errors import BadParameter, NotTrainable
from classifiers.fit.base import HeadClassifier, encode, names
from classifiers.fit.gaussian.estimator import GaussianClassifier, Shrinkage
from classifiers.fit.linear_parts import Directions, LinearPart, TextProbe
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.synthesis import Synthesis
from classifiers.heads.transform import check_edges, unit_blocks, unit_rows
from classifiers.heads.zeroshot import ALONE, Blend, ZeroShotHead, folded
from classifiers.prompts import PROMPTS, EmbedTexts, class_vectors, given_vectors

REFERENCE_ROWS = 256
"""Maximum number of training rows that bring the texts and the label bank to one scale."""


class ZeroShotClassifier(HeadClassifier):
    """score_k = scale · t_k·(u - m), plus α times the score of a Gaussian head.

    With a label bank, what the bank's classifiers say of the class is added to t_k, see `Synthesis`.

    u is x at unit norm, t_k the unit mean of class k's text vectors, and m the mean of u over the rows. m needs no
    label. It is subtracted because the part that all images of a task have in common is nearer to some names than to
    others, but does not help to tell the images apart.

    The Gaussian part is `GaussianClassifier` with one covariance for all classes, on vectors at unit norm. It follows
    GDA for CLIP (arXiv 2402.04087), except that the covariance is shrunk in another way and that the priors are the
    classes' shares. With blend 0 nothing is learned from labels: they only name the classes, unless `classes` does.

    With blend "lp++", the scores are those of `TextProbe`, which learns weights of the vectors and one factor for each
    class's text. It learns from u - m at unit norm, as in its paper. The head leaves out this second norm, so that its
    scores are linear; the order of the classes is the same.

    Args:
        blend: α ≥ 0; "gaussian" for the Gaussian part alone (α → ∞); or "lp++".
        shrinkage: shrinkage of the Gaussian part, as in `GaussianClassifier`.
        centre: subtract m. If false, the text part is the cosine.
        prompts: the name of a set of `classifiers.prompt_sets`, or templates with one {} for the class in words, or
            {label} for it as it is written; their text vectors are averaged.
        classes: names of the classes, with blend 0; None for those of y.
        scale: factor of the cosines; CLIP's own is 100. It matters only relative to α, or without calibration.
        blocks: column edges of the encoders, whose cosines are averaged; None for one encoder.
        bank_weight: w ≥ 0, how much a label bank counts beside the texts. Above 0 it needs a centre, and a bank of one
            encoder.

    Attributes:
        classes_: labels, sorted, (K,).
        text_: the classes' text vectors, (K, d), of norm 1 / B in each of B blocks, plus what a label bank adds.
        centre_: m, (d,).
        coef_, intercept_: score weights for vectors at unit norm, float64 (K, d) and (K,).
        head_: the NumPy head for serving, in float32.
    """

    head_: ZeroShotHead

    def __init__(
        self,
        blend: Blend = 0.0,
        shrinkage: Shrinkage = "oas",
        centre: bool = True,
        prompts: Sequence[str] | str = PROMPTS,
        classes: Sequence[str] | None = None,
        scale: float = 100.0,
        blocks: Sequence[int] | None = None,
        bank_weight: float = 0.0,
    ) -> None:
        self.blend = blend
        self.shrinkage = shrinkage
        self.centre = centre
        self.prompts = prompts
        self.classes = classes
        self.scale = scale
        self.blocks = blocks
        self.bank_weight = bank_weight

    @property
    def needs_texts(self) -> bool:
        return True

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        text: EmbedTexts | Mapping[Any, ArrayLike] | ArrayLike | None = None,
        bank: LabelBank | None = None,
    ) -> Self:
        """Learn from X (n, d), y (n,) labels and the texts of the classes.

        Args:
            text: required. An encoder's text side, a function from m texts to (m, d), which gets every prompt of every
                class; or one vector for each class, by label or as (K, d) in the order of the sorted classes.
            bank: labels that the encoder knows without training; used with a `bank_weight` above 0.

        Raises:
            NotTrainable: no text, fewer than two classes, rows from which no Gaussian can be estimated, or a
                `bank_weight` above 0 without a bank.
            BadParameter, BadVectors: see the class, and `classifiers.prompts`.
        """
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        if text is None:
            raise NotTrainable(
                "a zero-shot head knows its classes by their texts, and got none: pass text to fit, either an "
                "encoder's embed_texts or one vector for each class"
            )
        self.check()
        classes, _ = encode(labels if self.classes is None else np.array(check_classes(self.classes)))
        edges = self._edges(vectors.shape[1])
        U = unit_blocks(vectors, edges)
        centre = U.mean(axis=0, dtype=np.float64) if self.centre else np.zeros(U.shape[1])
        synthesis = self.synthesis(bank, reference_rows(U))
        if callable(text):
            found = class_vectors(text, names(classes), self.prompts, edges)
        else:
            found = given_vectors(text, names(classes), edges)
        part: LinearPart | None = None
        if self.blend == "lp++":
            part = self.probe(U, encode(labels)[1], centre, self.directions(found, synthesis))
        elif self.blend != 0:
            part = self.gaussian(edges).fit(vectors, labels)
        return self.settle(classes, found, centre, part, synthesis=synthesis)

    def gaussian(self, edges: Sequence[int]) -> GaussianClassifier:
        """Return the Gaussian part, unfitted."""
        return GaussianClassifier(shrinkage=self.shrinkage, norm="unit", blocks=edges)

    def probe(
        self,
        U: NDArray[Any],
        codes: NDArray[np.integer[Any]],
        centre: NDArray[np.float64],
        directions: NDArray[np.float64],
    ) -> Directions:
        """Return what LP++ learns from rows at unit norm (n, d), their classes (n,), and `directions` of the texts."""
        return Directions(TextProbe.learn(unit_rows(U - centre), codes, unit_rows(directions)).directions(), centre)

    def directions(self, text: NDArray[np.float64], synthesis: Synthesis | None = None) -> NDArray[np.float64]:
        """Return the directions of texts of unit norm in each block, and of a label bank if there is one, (K, d)."""
        if synthesis is None:
            return text / (len(self._edges(text.shape[1])) - 1)
        return synthesis.directions(text).astype(np.float64)

    def synthesis(self, bank: LabelBank | None, reference: NDArray[Any]) -> Synthesis | None:
        """Return what a bank adds to the texts, from training rows at unit norm (r, d); None with `bank_weight` 0."""
        if self.bank_weight == 0:
            return None
        if bank is None or not len(reference):
            raise NotTrainable(
                f"bank_weight={self.bank_weight} needs one encoder with a label bank, such as lite0, and training "
                f"rows; got {'no bank' if bank is None else 'a bank'} and {len(reference)} rows: leave bank_weight out"
            )
        return Synthesis.of(bank, reference, float(self.bank_weight))

    def settle(
        self,
        classes: NDArray[Any],
        text: NDArray[np.float64],
        centre: NDArray[np.float64],
        part: LinearPart | None = None,
        found: Mapping[str, Any] | None = None,
        synthesis: Synthesis | None = None,
    ) -> Self:
        """Build the estimator from its parts.

        Args:
            classes: (K,), sorted.
            text: text vectors (K, d), of unit norm in each block.
            centre: mean of the rows at unit norm in each block, (d,).
            part: learned from the same classes; None only with blend 0.
            found: more entries for the head's settings.
            synthesis: what a label bank adds to the texts; None without one.
        """
        self.check()
        edges = self._edges(text.shape[1])
        W, b = (None, None) if part is None else (part.coef_, part.intercept_)
        self.classes_, self.n_features_in_ = classes, text.shape[1]
        self.text_ = self.directions(text, synthesis)
        self.centre_ = centre if self.centre else np.zeros_like(centre)
        self.coef_, self.intercept_ = folded(self.text_, self.centre_, self.scale, self.blend, W, b)
        kept = {"text": self.text_, "centre": self.centre_, "W": W, "b": b}
        arrays = {name: each.astype(np.float32, order="C") for name, each in kept.items() if each is not None}
        settings = {"scale": float(self.scale), "blend": self.blend, "blocks": list(edges), **(found or {})}
        if synthesis is not None and part is not None:
            settings["bank_weight"] = float(self.bank_weight)
        elif synthesis is not None:
            arrays |= synthesis.arrays()
            settings |= synthesis.settings()
        self.head_ = ZeroShotHead(names(classes), arrays, settings)
        return self

    def check(self) -> None:
        """Raise BadParameter for values that are not allowed; the message names the allowed ones."""
        if self.blend not in ALONE and not is_number(self.blend, least=0.0):
            raise BadParameter(
                f"blend must be a number ≥ 0, {', '.join(map(repr, ALONE))}, or for training from a store 'auto', got "
                f"{self.blend!r}"
            )
        if not (is_number(self.scale, least=0.0) and self.scale > 0):
            raise BadParameter(f"scale must be a number above 0, got {self.scale!r}")
        if not isinstance(self.centre, bool):
            raise BadParameter(f"centre must be true or false, got {self.centre!r}")
        if not is_number(self.bank_weight, least=0.0):
            raise BadParameter(
                f"bank_weight must be a number ≥ 0, or for training from a store 'auto', got {self.bank_weight!r}"
            )
        if self.bank_weight > 0 and not (self.centre and (self.blocks is None or len(self.blocks) == 2)):
            raise BadParameter("a label bank is for centre=true and one encoder: set bank_weight=0")
        if self.classes is not None and self.blend != 0:
            raise BadParameter(
                "classes are for blend=0; a blend takes the classes of its training rows: leave classes out"
            )

    def _edges(self, dim: int) -> tuple[int, ...]:
        return (0, dim) if self.blocks is None else check_edges(self.blocks, dim)

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(unit_blocks(X, self._edges(X.shape[1])) @ self.coef_.T + self.intercept_)


def reference_rows(U: NDArray[Any]) -> NDArray[Any]:
    """Return `REFERENCE_ROWS` or fewer of the rows at unit norm (n, d), evenly spaced."""
    return U[:: max(1, len(U) // REFERENCE_ROWS)][:REFERENCE_ROWS]


def is_number(value: object, least: float) -> bool:
    """True for a finite number ≥ `least`."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(least <= float(value) < np.inf)


def check_classes(classes: object) -> tuple[str, ...]:
    """Return the names of classes, sorted. Raises BadParameter unless they are at least two different strings."""
    found = [] if isinstance(classes, str) or not isinstance(classes, Sequence) else list(classes)
    if not all(isinstance(name, str) and name.strip() for name in found) or len(set(found)) != len(found):
        found = []
    if len(found) < 2:
        raise BadParameter(f"classes must be a list of at least two different names, got {classes!r}")
    return tuple(sorted(found))
