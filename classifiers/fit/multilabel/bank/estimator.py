"""The estimator of the `bank` head: any number of labels, trained or known by text only, in closed form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadParameter, BadVectors
from classifiers.fit.base import is_real
from classifiers.fit.multilabel.bank import mixing, ridge
from classifiers.fit.multilabel.base import LabelsEstimator, check_labels, class_names
from classifiers.fit.multilabel.platt import Platt, fit_platt
from classifiers.heads.multilabel.bank.head import BankHead
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import Member, Patches
from classifiers.heads.text import check_text

Array = NDArray[np.float32]

REFERENCE_ROWS = 32
"""Number of training rows that the head keeps, to standardise the scores of labels that it gets later. On coco18, 64 or
all 767 rows change the mAP of unseen labels by less than 0.002."""

MOST_ROWS = 4000
"""Maximum number of rows on which members are mixed: each has a score for every member and label."""

ROWS_A_STEP = 256

LEAST_DEVIATION = 1e-5
"""A column whose deviation is below this share of its mean is constant up to rounding."""


class BankClassifier(LabelsEstimator):
    """Ridge regression on token statistics for trained labels, and a mixture of scores by text for all other labels.

    Everything is in closed form, and torch is not needed. The scores are calibrated: each trained label has a slope and
    a bias of its own, fitted on out-of-fold scores, and all labels by text share theirs, fitted on trained labels that
    were held out as if they were never trained.

    Memory: 16 · F + 4 · K bytes a row, and 80 bytes a label for each of at most `MOST_ROWS` rows.

    Args:
        penalty: of the ridge; None for the value with the highest mean average precision on held-out folds.
        seed: seed of the folds, and of the rows that are kept.
        prompts: templates of the text vectors, for callers that make text vectors from names. `fit` does not read them.

    Attributes:
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 if fit was given no names.
        penalty_: penalty that was used.
        out_of_fold_: scores of training rows from heads that did not learn from them, (m, L).
        rows_: numbers of these rows, (m,): all rows, or `MOST_ROWS` of them.
        unseen_: mean average precision of the trained labels if each is scored as if it were never trained.
        head_: the learned NumPy head, in float32.
    """

    reads_bank: ClassVar[bool] = True

    def __init__(self, penalty: float | None = None, seed: int = 0, prompts: Sequence[str] | None = None) -> None:
        self.penalty = penalty
        self.seed = seed
        self.prompts = prompts

    @property
    def needs_texts(self) -> bool:
        return True

    def fit(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        text: ArrayLike,
        bank: LabelBank | None = None,
    ) -> Self:
        """Learn from tokens and labels.

        Args:
            X: tokens (n, P, F), or vectors (n, F).
            Y: 1 if a row has a label, else 0, (n, L).
            classes: names of the labels (L,); None for "0", "1", …
            text: a text vector for each label, (L, F), in the space of the tokens.
            bank: labels that the encoder knows without training; None for none.

        Raises:
            BadVectors: values that are not finite, or text vectors that do not fit.
            NotTrainable: labels that do not fit the rows.
            BadParameter: see the class.
        """
        if self.penalty is not None and not (is_real(self.penalty) and 0 < self.penalty < np.inf):
            raise BadParameter(f"penalty must be a number above 0, or None to choose it, got {self.penalty!r}")
        tokens = check_tokens(X)
        there, names = check_labels(Y, len(tokens), classes)
        texts = check_text(text, len(names), tokens.shape[2])
        features = Features.of(tokens, bank)
        trained = learn_linear(features, there, self.penalty, self.seed)
        order = np.random.default_rng(self.seed).permutation(len(tokens))
        rows = np.sort(order[:MOST_ROWS])
        mixed = learn_mixture(
            trained.scores[rows], features.logits[rows], tokens[rows], texts, there[rows], bank, self.seed
        )
        reference = np.sort(order[:REFERENCE_ROWS])
        self.classes_, self.penalty_ = class_names(names, classes), trained.penalty
        self.rows_, self.out_of_fold_, self.unseen_ = rows, mixed.scores, mixed.unseen.figure
        arrays = label_arrays(trained, mixed, features) | bank_arrays(bank)
        arrays |= {
            "text": texts,
            "asked": np.arange(len(names)),
            "mean": features.mean,
            "deviation": features.deviation,
            "reference": np.asarray(tokens[reference], np.float32),
            "shift": np.zeros(1, np.float32),
        }
        settings = mixed.settings() | {
            "tokens": list(tokens.shape[1:]),
            "trained": names,
            "reference": len(reference),
            "unit": bank is not None and bank.unit,
            "penalty": self.penalty_,
            "unseen_map": round(self.unseen_, 4),
        }
        self.head_ = BankHead(names, arrays, settings)
        return self

    def _scores(self, X: ArrayLike) -> Array:
        tokens = check_tokens(X)
        return self.head_.scores(tokens.reshape(len(tokens), -1))


@dataclass(frozen=True, slots=True)
class Features:
    """The standardised `Patches.features` of the training rows.

    Attributes:
        values: (n, C).
        mean, deviation: of each column before, (C,); 1 for the deviation of a constant column.
        labels: number K of labels of the bank, which have the last columns.
    """

    values: Array
    mean: Array
    deviation: Array
    labels: int

    @classmethod
    def of(cls, tokens: NDArray[Any], bank: LabelBank | None) -> Self:
        """Read tokens (n, P, F), a few rows at a time. Raises BadVectors for values that are not finite."""
        parts = [
            Patches(np.asarray(tokens[start : start + ROWS_A_STEP], np.float32), bank).features()
            for start in range(0, len(tokens), ROWS_A_STEP)
        ]
        values = np.concatenate(parts)
        if not np.isfinite(values).all():
            raise BadVectors("tokens hold NaN, infinity or values too large for float32")
        mean, deviation = values.mean(axis=0), values.std(axis=0)
        deviation[deviation <= LEAST_DEVIATION * np.abs(mean)] = 1.0
        deviation[deviation == 0] = 1.0
        values -= mean
        values /= deviation
        return cls(values, mean, deviation, 0 if bank is None else len(bank.bias))

    @property
    def scale(self) -> np.float32:
        """Factor that gives rows of statistics a squared norm of about 1."""
        return np.float32(1.0 / np.sqrt(self.values.shape[1] - self.labels))

    @property
    def statistics(self) -> Array:
        """Statistics of tokens, (n, D), with a squared norm of about 1."""
        return self.values[:, : self.values.shape[1] - self.labels] * self.scale

    @property
    def logits(self) -> Array:
        """Scores of the bank's labels, (n, K)."""
        return self.values[:, self.values.shape[1] - self.labels :]


@dataclass(frozen=True, slots=True)
class Linear:
    """The ridge regression of the trained labels, standardised by its out-of-fold scores.

    Attributes:
        weights, constant: (L, D) and (L,).
        scores: out-of-fold scores, (n, L).
    """

    penalty: float
    weights: Array
    constant: Array
    scores: Array


def learn_linear(features: Features, there: NDArray[np.bool_], penalty: float | None, seed: int) -> Linear:
    """Fit the ridge regression of labels (n, L), with a penalty chosen on folds if it is None."""
    Z, Y = features.statistics, there.astype(np.float32)
    tried = ridge.PENALTIES if penalty is None else (penalty,)
    penalty, scores = ridge.choose_penalty(Z, Y, ridge.row_folds(there, seed), tried)
    fit = ridge.Fit.of(Z, Y)
    found = mixing.standardised(scores)
    weights = fit.weights(penalty) * features.scale / found.deviation[:, None]
    return Linear(penalty, weights, (fit.mean - found.mean) / found.deviation, found.scores)


@dataclass(frozen=True, slots=True)
class Mixed:
    """What was learned about members.

    Attributes:
        unseen: mixture for labels by text.
        helpers: standardised helpers of trained labels, by member.
        weight: weight of each helper.
        smooth, offset: what other labels predict for trained labels, see `BankHead`: factors (L, L + K), and the
            mean that is subtracted, (L,).
        scores: calibrated out-of-fold scores of trained labels, (m, L).
        own: slope and bias of each trained label, (2, L).
        common: slope and bias of labels by text, (2,).
    """

    unseen: mixing.Mixture
    helpers: Mapping[Member, mixing.Standardised]
    weight: float
    smooth: Array
    offset: Array
    scores: Array
    own: Array
    common: Array

    @property
    def members(self) -> list[Member]:
        """The members that the head needs."""
        picked = [name for name in self.unseen.counts if isinstance(name, Member)]
        return list(dict.fromkeys([*picked, *(self.helpers if self.weight else ())]))

    def settings(self) -> dict[str, Any]:
        """Return the settings of the head that concern members."""
        counts = self.unseen.counts
        return {
            "members": [list(member) for member in self.members],
            "weights": [counts.get(member, 0) for member in self.members],
            "process": {str(name): count for name, count in counts.items() if not isinstance(name, Member)},
            "help": self.weight,
        }


def learn_mixture(
    linear: Array,
    logits: Array,
    tokens: NDArray[Any],
    text: Array,
    there: NDArray[np.bool_],
    bank: LabelBank | None,
    seed: int,
) -> Mixed:
    """Choose the mixture for labels by text and the weight of helpers, and calibrate both.

    Args:
        linear: out-of-fold scores of the trained labels, (m, L).
        logits: standardised scores of the bank's labels, (m, K).
        tokens: (m, P, F).
        text: texts of the trained labels, norm 1, (L, F).
        there: true if a row has a label, (m, L).
    """
    folds = ridge.spread(len(text), seed, mixing.LABEL_FOLDS)
    by_text = mixing.TextScores.of(tokens, text, folds, bank)
    candidates = dict(by_text.unseen)
    for noise in mixing.NOISES[: None if bank else 1]:
        candidates[noise] = mixing.process_scores(linear, logits, text, folds, bank, noise)
    unseen = mixing.mix(candidates, there)
    factors = mixing.left_out_weights(text, bank)
    predicted = mixing.standardised(np.concatenate([linear, logits], axis=1) @ factors.T)
    strength, smoothed = mixing.choose_help(linear, [predicted.scores], there)
    weight, helped = mixing.choose_help(smoothed, [each.scores for each in by_text.helpers.values()], there)
    scale = np.float32(strength) / predicted.deviation
    own = platt_each(helped, there)
    return Mixed(
        unseen=unseen,
        helpers=by_text.helpers,
        weight=weight,
        smooth=scale[:, None] * factors,
        offset=scale * predicted.mean,
        scores=helped * own[0] + own[1],
        own=own,
        common=line(fit_platt(unseen.scores, there)),
    )


def label_arrays(trained: Linear, mixed: Mixed, features: Features) -> dict[str, NDArray[Any]]:
    """Return the head's arrays of the trained labels, see `BankHead`."""
    L, helpers = len(trained.constant), mixed.helpers if mixed.weight else {}
    mix = np.zeros((L, len(mixed.members)), np.float32)
    offset = -mixed.offset
    for member, found in helpers.items():
        column = mix[:, mixed.members.index(member)] = np.float32(mixed.weight) / found.deviation
        offset = offset - column * found.mean
    slope, bias = mixed.own
    return {
        "linear": np.concatenate([trained.weights, np.zeros((L, features.labels), np.float32)], axis=1),
        "constant": trained.constant,
        "mix": mix,
        "slope": slope,
        "bias": bias + slope * offset,
        "smooth": mixed.smooth,
        "common": mixed.common,
    }


def bank_arrays(bank: LabelBank | None) -> dict[str, NDArray[Any]]:
    """Return the head's arrays of a label bank."""
    return {} if bank is None else {"bank_weights": bank.weights, "bank_bias": bank.bias, "bank_text": bank.text}


def platt_each(scores: Array, there: NDArray[np.bool_]) -> Array:
    """Return a slope and a bias for each label, (2, L), from scores and true labels (n, L).

    A label gets those of all labels together if its own rows give none that are better than slope 1 and bias 0.
    """
    common = fit_platt(scores, there)
    each = (fit_platt(scores[:, [label]], there[:, [label]]) for label in range(scores.shape[1]))
    return np.stack([line(common if found == Platt() else found) for found in each], axis=1)


def line(platt: Platt) -> Array:
    """Return (slope, bias) of a calibration, (2,)."""
    return np.array([1.0 / platt.temperature, platt.shift / platt.temperature], np.float32)


def check_tokens(X: ArrayLike) -> NDArray[Any]:
    """Return tokens (n, P, F) in their own float type, with P = 1 for vectors (n, F). Raises BadVectors."""
    tokens = np.asanyarray(X)
    if tokens.ndim == 2:
        tokens = tokens[:, None]
    if tokens.ndim != 3 or tokens.dtype.kind != "f" or 0 in tokens.shape[1:]:
        raise BadVectors(
            f"expected tokens (n, tokens, width) or vectors (n, width) of a float type, got "
            f"{tokens.dtype} {np.shape(X)}"
        )
    return tokens
