"""What the figures say of the paper's claims, in sentences, and the same differences for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from classifiers.evaluation.paired import Difference
from classifiers.evaluation.percentages import points
from classifiers.reproduce.gmm.cells import CHOSEN, ONE, REDUCED, SEVERAL, WHOLE
from classifiers.reproduce.gmm.entrants import DGMMC, LDA, SDGM_D, SDGM_F, SOFTMAX, WHITENED
from classifiers.reproduce.gmm.measured import ACCURACY, NLL, Measured, ends

Side = tuple[str, str]
"""A head and an arm, by name."""
Arms = Mapping[Side, Measured]


@dataclass(frozen=True, slots=True)
class Claim:
    """The head and arm `first` against `second`, on the same rows.

    Attributes:
        question: what the paper says or leaves open.
        sides: both sides as the subject and the object of a sentence.
    """

    question: str
    first: Side
    second: Side
    sides: tuple[str, str]


def chosen(question: str, first: Any, second: Any) -> Claim:
    return Claim(question, (first.key, CHOSEN), (second.key, CHOSEN), (first.name, second.name))


def with_components(entrant: Any, question: str) -> Claim:
    sides = (f"{entrant.name} with several Gaussians a class", "one Gaussian a class")
    return Claim(question, (entrant.key, SEVERAL), (entrant.key, ONE), sides)


def after_pca(entrant: Any, question: str) -> Claim:
    sides = (f"{entrant.name} on few principal components", "all of them")
    return Claim(question, (entrant.key, REDUCED), (entrant.key, WHOLE), sides)


ENOUGH = "Is one Gaussian a class enough? (The paper: often.)"
AS_SOFTMAX = "Are mixtures as good as softmax? (With one variance for all components, DGMMC-S is a softmax.)"
REDUCTION = "Does PCA keep the accuracy? (The paper keeps 80 % of the variance on ImageNet.)"
OTHERS = "Which Gaussian head is best?"
CLAIMS = (
    with_components(DGMMC, ENOUGH),
    with_components(SDGM_D, ENOUGH),
    with_components(SDGM_F, ENOUGH),
    chosen(AS_SOFTMAX, DGMMC, SOFTMAX),
    chosen(AS_SOFTMAX, SDGM_D, SOFTMAX),
    chosen(AS_SOFTMAX, SDGM_F, SOFTMAX),
    chosen(OTHERS, DGMMC, LDA),
    chosen(OTHERS, DGMMC, SDGM_D),
    chosen(OTHERS, WHITENED, DGMMC),
    after_pca(DGMMC, REDUCTION),
    after_pca(SOFTMAX, REDUCTION),
    after_pca(LDA, REDUCTION),
)
CHANCE = "which may be chance"
SURE = "Are the probabilities too sure? (The authors' notebook: NLL 2.75 at an accuracy of 88.7 %.)"
ENCODERS = "Which encoder is better? (The paper: ImageBind often above CLIP, also after PCA.)"


@dataclass(frozen=True, slots=True)
class Answer:
    """A claim's difference in accuracy (0…1) and NLL (nats) on the rows of the store, with their intervals."""

    question: str
    sides: tuple[str, str]
    accuracy: Difference
    nll: Difference

    def text(self) -> str:
        """Return the answer as a sentence."""
        accuracy, nll = verdict(self.accuracy, "better", "worse"), verdict(self.nll, "worse", "better")
        return (
            f"{self.sides[0]} against {self.sides[1]}: accuracy {points(self.accuracy)} points, {accuracy}; "
            f"NLL {self.nll.mean:+.3f} ({self.nll.low:+.3f} to {self.nll.high:+.3f}) nats, {nll}."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "question": self.question,
            "first": self.sides[0],
            "second": self.sides[1],
            "accuracy": self.accuracy.mean,
            "accuracy_interval": ends(self.accuracy),
            "nll": self.nll.mean,
            "nll_interval": ends(self.nll),
        }


def verdict(found: Difference, above: str, below: str) -> str:
    """Return a word for a difference above 0 or below 0, and other words if its interval contains 0."""
    if found.low <= 0 <= found.high:
        return CHANCE
    return above if found.mean > 0 else below


def answer(question: str, sides: tuple[str, str], first: Measured, second: Measured) -> Answer:
    return Answer(question, sides, first.lead(second, ACCURACY), first.lead(second, NLL))


def answers(arms: Arms) -> Iterator[Answer]:
    """Yield the answer to each claim whose two sides were measured with one encoder."""
    for claim in CLAIMS:
        if claim.first in arms and claim.second in arms:
            yield answer(claim.question, claim.sides, arms[claim.first], arms[claim.second])


def between_encoders(by_encoder: Mapping[str, Arms]) -> Iterator[Answer]:
    """Yield how each encoder compares with each other, by DGMMC-S with all cells, and after PCA."""
    for (one, first), (other, second) in combinations(by_encoder.items(), 2):
        for name, told in ((CHOSEN, "DGMMC-S"), (REDUCED, "DGMMC-S after PCA")):
            side = (DGMMC.key, name)
            if side in first and side in second:
                yield answer(ENCODERS, (f"{told} on {one}", f"on {other}"), first[side], second[side])


def sureness(arms: Arms) -> str:
    """Return whether the chosen DGMMC-S is too sure before the temperature; empty if it was not measured."""
    found = arms.get((DGMMC.key, CHOSEN))
    if found is None:
        return ""
    gap, temperatures = found.sureness(), [each.cell.trial.temperature for each in found.tested]
    mean = sum(temperatures) / len(temperatures)
    if gap.low <= 0:
        told = "so these rows do not show that a temperature is needed"
    else:
        told = f"so its probabilities were {'too sure' if mean > 1 else 'not sure enough'}"
    return (
        f"DGMMC-S has an NLL of {found.mean('nll_uncalibrated'):.3f} before and {found.mean('nll'):.3f} after a "
        f"temperature of {mean:.2f} on average; the difference is {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), "
        f"{told}."
    )


def sentences(by_encoder: Mapping[str, Arms]) -> Iterator[str]:
    """Yield a sentence for each answer, each question once before its first answer."""
    for encoder, arms in by_encoder.items():
        place, asked = f"{encoder}: " if len(by_encoder) > 1 else "", ""
        for each in answers(arms):
            yield place + (f"{each.question} " if each.question != asked else "") + each.text()
            asked = each.question
        if told := sureness(arms):
            yield f"{place}{SURE} {told}"
    asked = ""
    for each in between_encoders(by_encoder):
        yield (f"{each.question} " if each.question != asked else "") + each.text()
        asked = each.question
