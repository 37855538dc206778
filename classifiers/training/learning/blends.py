"""The choice of a blend of texts and a linear part, on rows not learned from: α, and the weight of a label bank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.choice import choose
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.zeroshot import ALONE, Blend
from classifiers.training.learning.tuning import is_auto, tuning_rows
from classifiers.training.rows.scored import Scored

Scores = NDArray[np.float32]

Mixed = tuple[float, Blend]
"""A weight of the label bank, and α."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Some rows with their scores by the texts alone and by a linear part that did not learn from them.

    Attributes:
        texts: scores by the texts for each weight of a label bank, (n, K) each; 0 is the weight without one.
        part: scores by the linear part, (n, K).
        truth: column of the true class, (n,).
    """

    texts: Mapping[float, Scores]
    part: Scores
    truth: NDArray[Any]

    @classmethod
    def concatenate(cls, parts: Sequence["Ends"]) -> "Ends":
        """Return the rows of all parts, in order; at least one part."""
        texts = {weight: np.concatenate([each.texts[weight] for each in parts]) for weight in parts[0].texts}
        part, truth = (np.concatenate([getattr(each, name) for each in parts]) for name in ("part", "truth"))
        return cls(texts, part, truth)

    def blended(self, mixed: Mixed) -> Scored:
        """Return the rows with the scores of a blended head."""
        weight, blend = mixed
        return Scored(blended(self.texts[weight], self.part, blend), self.truth)


def blended(text: Scores, part: Scores, blend: Blend) -> Scores:
    """Return the scores of a blended head, (n, K), from those of the text and of the linear part; α is `blend`."""
    if blend in ALONE:
        return part
    return text if blend == 0 else text + text.dtype.type(blend) * part


def settle_blend(
    estimator: ZeroShotClassifier, parts: Sequence[Ends], tried: Sequence[Blend], unchosen: Mixed
) -> tuple[dict[str, dict[str, float]], Scores | None]:
    """Set the estimator's `blend` and `bank_weight`: with `AUTO` those with the least NLL on the first validation rows.

    Args:
        parts: validation rows, with the weights of a label bank that are tried; empty if there are too few.
        tried: values of α that are tried, unless the estimator has one.
        unchosen: the weight and α without rows to choose on. An α of the estimator goes before it.

    Returns the NLL and accuracy of the blend and of both ends, by name, empty without validation rows; and scores of
    the validation rows that are independent of the choice, see `classifiers.evaluation.choice.Choice`.
    """
    auto, given = is_auto(estimator.blend), estimator.blend
    if not parts:
        weight, blend = unchosen
        estimator.set_params(blend=blend if auto else given, bank_weight=weight)
        return {}, None
    weights = tuple(parts[0].texts)
    found, left_out = measured(parts, mixtures(weights, tried if auto else (0.0, given, "gaussian")))
    weight, blend = min(found, key=lambda mixed: found[mixed]["nll"]) if auto else (weights[0], given)
    estimator.set_params(blend=blend, bank_weight=weight)
    ends: tuple[Mixed, ...] = ((weight, 0.0), (weight, blend), (weights[0], "gaussian"))
    return {named(mixed[1]): found[mixed] for mixed in ends}, left_out if auto else None


def mixtures(weights: Sequence[float], blends: Sequence[Blend]) -> list[Mixed]:
    """Return all pairs. A linear part alone has the first weight only, because its texts do not count."""
    return [(weight, each) for each in blends for weight in (weights[:1] if each in ALONE else weights)]


def measured(parts: Sequence[Ends], mixes: Sequence[Mixed]) -> tuple[dict[Mixed, dict[str, float]], Scores | None]:
    """Return the NLL (at its best temperature) and accuracy of every blend, and scores independent of the choice.

    The first validation rows are used, see `tuning.TUNING_ROWS`. A Gaussian of few rows in many dimensions has scores
    in the thousands, which need a temperature out of `fit_temperature`'s reach, so all scores are brought to one scale
    first.
    """
    whole, most = Ends.concatenate(parts), tuning_rows(parts[0].part.shape[1])
    codes = whole.truth[:most]
    scales: list[float] = []
    accuracies: list[float] = []

    def scaled(mix: Mixed) -> NDArray[Any]:
        scores = whole.blended(mix).scores[:most]
        scales.append(float(np.std(scores[np.isfinite(scores)])) or 1.0)
        accuracies.append(float(np.mean(scores.argmax(axis=1) == codes)))
        return np.asarray(scores / scores.dtype.type(scales[-1]))

    choice = choose(map(scaled, mixes), codes)
    left_out = None if choice.left_out is None else choice.left_out * np.float32(scales[choice.best])
    each = zip(choice.nll, accuracies, strict=True)
    return dict(zip(mixes, [{"nll": nll, "accuracy": accuracy} for nll, accuracy in each], strict=True)), left_out


def named(blend: Blend) -> str:
    return blend if isinstance(blend, str) else f"{blend:g}"


def described(estimator: ZeroShotClassifier, measures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a sentence on the blend: its α, and how good it and both ends are on validation rows or folds."""
    bank = f" with a label bank of weight {estimator.bank_weight:g}" if estimator.bank_weight else ""
    start = f"Blend {named(estimator.blend)}{bank}"
    if not measures:
        return f"{start}: no validation rows, or too few training rows, to judge it on."
    each = "; ".join(f"{name}: NLL {row['nll']:.4f}, accuracy {row['accuracy']:.4f}" for name, row in measures.items())
    return (
        f"{start}, judged on validation rows or folds (0 is the text alone, gaussian the Gaussian part alone; NLL at "
        f"the best temperature): {each}."
    )
