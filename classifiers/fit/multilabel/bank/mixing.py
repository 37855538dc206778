"""The scores of labels as if they were never trained, and the mixture of members that ranks such labels best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.heads.multilabel.bank.head import NOISE, SMALLEST, process_weights
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bank.members import SHARPNESS, Member, Patches, kernel, outdone

Array = NDArray[np.float32]

Candidate = Member | float
"""What can be mixed: a member, or the Gaussian process with this variance of the noise of the bank's labels."""

COSINE, RIVALS = Member("cosine"), Member("rivals")
TEXT_TEMPERATURES = (0.07, 0.1, 0.14)
LABEL_TEMPERATURES = (1.0, 3.0)
NOISES = (0.5, 2.0)
"""Values of the noise of the bank's labels in the Gaussian process."""

HELPERS = (Member("conse-mean", 1.0, 0.1), Member("conse-max", 1.0, 0.1), RIVALS)
"""Members that are added to the linear scores of trained labels, each with the same weight."""

HELP = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)
"""Weights of the helpers that are tried, and of what other labels predict."""

LEAST_HELPED = 50
"""Least number of rows with which weights of help can be chosen. With fewer, trained labels get no help."""

LABEL_FOLDS = 4
MOST_PICKS = 10
ROWS_A_STEP = 50


def members(bank: bool) -> tuple[Member, ...]:
    """Return the members that are tried, with or without a label bank."""
    if not bank:
        return COSINE, RIVALS
    names = ("conse", "conse-mean", "conse-max")
    conse = (Member(name, T, tau) for T in LABEL_TEMPERATURES for tau in TEXT_TEMPERATURES for name in names)
    return COSINE, RIVALS, *conse


def helpers(bank: bool) -> tuple[Member, ...]:
    """Return the members that may help trained labels, with or without a label bank."""
    return HELPERS if bank else (RIVALS,)


class Standardised(NamedTuple):
    """Scores with mean 0 and deviation 1 for each label, (n, L), and what they had before, (L,)."""

    scores: Array
    mean: Array
    deviation: Array


def standardised(scores: Array) -> Standardised:
    """Standardise scores (n, L), label by label."""
    mean, deviation = scores.mean(axis=0), scores.std(axis=0) + SMALLEST
    return Standardised((scores - mean) / deviation, mean, deviation)


@dataclass(frozen=True, slots=True)
class TextScores:
    """Scores of the trained labels by their texts, on training rows.

    Attributes:
        unseen: by member, (n, L); for ``rivals``, each label competes with the labels of other folds only.
        helpers: scores of the helpers, by member; for ``rivals``, each label competes with all trained labels.
    """

    unseen: dict[Candidate, Array]
    helpers: dict[Member, Standardised]

    @classmethod
    def of(
        cls, tokens: NDArray[np.floating[Any]], text: Array, folds: NDArray[np.int64], bank: LabelBank | None
    ) -> "TextScores":
        """Score tokens (n, P, F), a few rows at a time.

        Args:
            text: texts of the labels, norm 1, (L, F).
            folds: fold of each label, (L,).
        """
        plain = [member for member in members(bank is not None) if member != RIVALS]
        shape = (len(tokens), len(text))
        found = {member: np.empty(shape, np.float32) for member in (*plain, RIVALS)}
        every = np.empty(shape, np.float32)
        others = np.stack([folds != fold for fold in range(LABEL_FOLDS)], axis=1).astype(np.float32)
        for start in range(0, len(tokens), ROWS_A_STEP):
            some = slice(start, start + ROWS_A_STEP)
            patches = Patches(np.asarray(tokens[some], np.float32), bank)
            for member in plain:
                found[member][some] = patches.score(member, text)
            own = np.exp(SHARPNESS * patches.cosines(text))
            found[RIVALS][some] = outdone(own, own + (own @ others)[..., folds])
            every[some] = outdone(own, own.sum(axis=2, keepdims=True))
        raw = {member: every if member == RIVALS else found[member] for member in helpers(bank is not None)}
        return cls(
            {member: standardised(scores).scores for member, scores in found.items()},
            {member: standardised(scores) for member, scores in raw.items()},
        )


def process_scores(
    linear: Array, logits: Array, text: Array, folds: NDArray[np.int64], bank: LabelBank | None, noise: float
) -> Array:
    """Return the Gaussian process's standardised scores of trained labels, each from the labels of other folds, (n, L).

    Args:
        linear: standardised out-of-fold scores of the trained labels, (n, L).
        logits: standardised scores of the bank's labels, (n, K).
    """
    scores = np.empty_like(linear)
    for fold in np.unique(folds):
        held = folds == fold
        alpha = process_weights(text[~held], bank, text[held], noise).astype(np.float32)
        scores[:, held] = np.concatenate([linear[:, ~held], logits], axis=1) @ alpha
    return standardised(scores).scores


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each candidate was picked, and the sum of the picks.

    Attributes:
        counts: picks by name of the candidate.
        scores: (n, L).
        figure: mean average precision of `scores`.
    """

    counts: dict[Candidate, int]
    scores: Array
    figure: float


def mix(candidates: Mapping[Candidate, Array], labels: NDArray[np.bool_]) -> Mixture:
    """Add candidates one by one, with replacement, until the mean average precision stops rising (Caruana et al. 2004).

    Args:
        candidates: standardised scores (n, L) by member, or by the noise of the Gaussian process. At least one.
        labels: true if a row has a label, (n, L).
    """
    counts: dict[Candidate, int] = {}
    total, best = np.zeros(labels.shape, np.float32), -1.0
    for _ in range(MOST_PICKS):
        figures = {name: mean_average_precision(total + scores, labels) for name, scores in candidates.items()}
        name = max(figures, key=lambda each: figures[each])
        if figures[name] <= best:
            break
        best, total = figures[name], total + candidates[name]
        counts[name] = counts.get(name, 0) + 1
    return Mixture(counts, total, best)


def left_out_weights(text: Array, bank: LabelBank | None) -> Array:
    """Return factors (S, S + K) with which the Gaussian process predicts each trained label from all other labels.

    For row l of A = (K + N)⁻¹ they are -A_lj / A_ll for j ≠ l and 0 for j = l (Rasmussen & Williams 2006, eq. 5.12).

    Args:
        text: texts of the trained labels, norm 1, (S, F).
    """
    known = text if bank is None else np.concatenate([text, bank.text])
    inverse = np.linalg.inv(kernel(known, known) + NOISE * np.eye(len(known)))[: len(text)]
    own = np.arange(len(text))
    factors = -inverse / inverse[own, own][:, None]
    factors[own, own] = 0.0
    return factors.astype(np.float32)


def choose_help(scores: Array, help_: Sequence[Array], labels: NDArray[np.bool_]) -> tuple[float, Array]:
    """Return the weight of `HELP` with the highest mean average precision, and the scores with its help, (n, L)."""
    weights = HELP if len(labels) >= LEAST_HELPED else HELP[:1]
    total = np.sum(help_, axis=0, dtype=np.float32)
    tried = [scores + np.float32(weight) * total for weight in weights]
    best = int(np.argmax([mean_average_precision(each, labels) for each in tried]))
    return weights[best], tried[best]
