"""The two families of comparisons: heads that give each row one class, and heads that give it any number of labels.

A family knows how its heads are learned and measured, which figure ranks them, and what a table shows of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.candidates import LABEL_CONTROL_KINDS, Candidate
from classifiers.compare.curves import CurvePoint, label_curve, pca_curve
from classifiers.compare.label_heads import calibrate_head, label_outcomes_on, learn_labels
from classifiers.compare.label_outcomes import LabelMeasured, LabelOutcomes, lead_of
from classifiers.compare.one_class import STORED, learn, learned_head, outcomes_on
from classifiers.evaluation.figures import Evaluation, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.paired import Difference, Pair, paired_bootstrap
from classifiers.heads.base import Head
from classifiers.training.calibrate import calibrate
from classifiers.training.kinds import LABEL_KINDS
from classifiers.training.rows.rows import Rows


class Finished(Protocol):
    """A trial of a candidate: the candidate, and the temperature and settings of its head."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def temperature(self) -> float: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...


class Family(ABC):
    """What the heads of a comparison have in common.

    Attributes:
        figure: name of the figure that ranks the heads.
        named_beside: names of the figures that `beside` gives.
        growth: name of the figure of the learning curve, the mean of a figure of each row.
        on_components: kind of head of which `curve` gives the figure.
        titles: titles of the columns of `cells`; for the leading =, see `html.table`.
        stored: names of the arrays on disk, by field of the outcomes.
    """

    figure: ClassVar[str]
    named_beside: ClassVar[tuple[str, ...]] = ()
    growth: ClassVar[str]
    on_components: ClassVar[str]
    titles: ClassVar[tuple[str, ...]]
    outcomes: ClassVar[Callable[..., Any]]
    stored: ClassVar[Mapping[str, str]]

    @abstractmethod
    def classes(self, rows: Rows) -> tuple[str, ...]:
        """Return the classes or labels of the training rows. Raises NotTrainable."""

    @abstractmethod
    def learn(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> tuple[Head, Sequence[Any]]:
        """Return the uncalibrated head of a candidate, and its scored validation rows or folds."""

    @abstractmethod
    def deciding(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> Head:
        """Return a candidate's head that gives rows their class or labels; its probabilities may be uncalibrated."""

    @abstractmethod
    def calibrate(self, head: Any, parts: Sequence[Any]) -> tuple[Head, Any]:
        """Return the calibrated head, and the outcomes of the rows that it was calibrated on."""

    @abstractmethod
    def relearn(self, trial: Finished, rows: Rows, classes: tuple[str, ...]) -> Head:
        """Return the calibrated head of a finished trial, learned again with the parameters that training chose."""

    @abstractmethod
    def outcomes_on(self, rows: Rows, head: Any, split: str) -> Any:
        """Return the outcomes of a calibrated head on a split that has at least one row of its classes."""

    @abstractmethod
    def curve(self, rows: Rows, classes: tuple[str, ...]) -> list[CurvePoint]:
        """Return the figure that ranks by the number of principal components. Raises NotTrainable."""

    @abstractmethod
    def measure(self, outcomes: Any, classes: tuple[str, ...], seed: int) -> Any:
        """Return the figures of outcomes."""

    @abstractmethod
    def against(self, best: Any, others: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return the comparison of (outcomes, figures) with those of each other head on the same rows."""

    @abstractmethod
    def value(self, found: Any) -> float:
        """Return the figure that ranks, in 0…1."""

    @abstractmethod
    def interval(self, found: Any) -> tuple[float, float]:
        """Return the 95 % interval of the figure that ranks."""

    def beside(self, found: Any) -> tuple[float, ...]:  # noqa: ARG002 - a family may have none
        """Return the figures that stand beside the one that ranks, in 0…1."""
        return ()

    @abstractmethod
    def cells(self, found: Any) -> list[str]:
        """Return the cells of the columns `titles`."""

    @abstractmethod
    def lead(self, pair: Any) -> Difference:
        """Return the difference of the figure that ranks."""

    @abstractmethod
    def truth(self, outcomes: Any) -> NDArray[Any]:
        """Return the true classes or labels of the rows, which must be the same for all heads."""

    def save(self, path: Path, outcomes: Any) -> None:
        """Write outcomes as .npz, atomically."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, **{stored: getattr(outcomes, name) for name, stored in self.stored.items()})
        partial.replace(path)

    def load(self, path: Path) -> Any:
        """Return the outcomes in a file of `save`. Raises OSError, ValueError, KeyError for any other file."""
        with np.load(path, allow_pickle=False) as file:
            return type(self).outcomes(**{name: file[stored] for name, stored in self.stored.items()})


class OneClass(Family):
    """Heads that give each row exactly one class, ranked by accuracy."""

    figure = growth = "accuracy"
    named_beside = ("balanced accuracy",)
    on_components = "Gaussian head (tied)"
    titles = ("=accuracy", "=95 % interval", "=balanced accuracy", "=macro-F1", "=NLL", "=ECE")
    outcomes = Outcomes
    stored = STORED

    def classes(self, rows: Rows) -> tuple[str, ...]:
        return rows.classes()

    def learn(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> tuple[Head, Sequence[Any]]:
        return learn(candidate, rows, classes)

    def deciding(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> Head:
        return learned_head(candidate, {}, rows, classes)

    def calibrate(self, head: Any, parts: Sequence[Any]) -> tuple[Head, Outcomes]:
        return calibrate(head, parts)[:2]

    def relearn(self, trial: Finished, rows: Rows, classes: tuple[str, ...]) -> Head:
        return learned_head(trial.candidate, trial.settings, rows, classes).with_temperature(trial.temperature)

    def outcomes_on(self, rows: Rows, head: Any, split: str) -> Outcomes:
        return outcomes_on(rows, head, split)

    def curve(self, rows: Rows, classes: tuple[str, ...]) -> list[CurvePoint]:
        return pca_curve(rows, classes)

    def measure(self, outcomes: Outcomes, classes: tuple[str, ...], seed: int) -> Evaluation:
        return summarise(outcomes, classes, seed=seed)

    def against(self, best: Any, others: Mapping[str, Any], seed: int) -> dict[str, Pair]:
        found = paired_bootstrap(best[0], [outcomes for outcomes, _ in others.values()], seed=seed)
        return dict(zip(others, found, strict=True))

    def value(self, found: Evaluation) -> float:
        return found.accuracy

    def interval(self, found: Evaluation) -> tuple[float, float]:
        return found.accuracy_interval

    def cells(self, found: Evaluation) -> list[str]:
        low, high = found.accuracy_interval
        others = (found.balanced_accuracy, found.macro_f1, found.nll, found.ece)
        return [f"{found.accuracy:.4f}", f"{low:.3f} to {high:.3f}", *(f"{x:.4f}" for x in others)]

    def beside(self, found: Evaluation) -> tuple[float, ...]:
        return (found.balanced_accuracy,)

    def lead(self, pair: Pair) -> Difference:
        return pair.accuracy

    def truth(self, outcomes: Outcomes) -> NDArray[Any]:
        return outcomes.codes


class AnyLabels(Family):
    """Heads that give a row any number of labels, ranked by mAP."""

    figure, growth = "mAP", "F1"
    on_components = "ridge regression of the labels"
    titles = ("=mAP", "=95 % interval", "=micro-F1", "=F1@3", "=NLL of a label", "=ECE")
    outcomes = LabelOutcomes
    stored: ClassVar[Mapping[str, str]] = {"logits": "logits", "truth": "truth", "limits": "limits"}

    def classes(self, rows: Rows) -> tuple[str, ...]:
        return rows.label_names()

    def learn(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> tuple[Head, Sequence[Any]]:  # noqa: ARG002 - the rows name the labels
        return learn_labels(candidate, rows)

    def deciding(self, candidate: Candidate, rows: Rows, classes: tuple[str, ...]) -> Head:  # noqa: ARG002 - as above
        head, parts = learn_labels(candidate, rows)
        return calibrate_head(head, parts)[0] if parts else head

    def calibrate(self, head: Any, parts: Sequence[Any]) -> tuple[Head, LabelOutcomes]:
        return calibrate_head(head, parts)

    def relearn(self, trial: Finished, rows: Rows, classes: tuple[str, ...]) -> Head:  # noqa: ARG002 - as above
        chosen = {"C": trial.settings["C"]} if "C" in trial.settings else {}  # alone, because training chooses only C
        candidate = replace(trial.candidate, params={**trial.candidate.params, **chosen})
        return calibrate_head(*learn_labels(candidate, rows))[0]

    def outcomes_on(self, rows: Rows, head: Any, split: str) -> LabelOutcomes:
        return label_outcomes_on(rows, head, split)

    def curve(self, rows: Rows, classes: tuple[str, ...]) -> list[CurvePoint]:
        return label_curve(rows, classes)

    def measure(self, outcomes: LabelOutcomes, classes: tuple[str, ...], seed: int) -> LabelMeasured:
        return LabelMeasured.of(outcomes, classes, seed)

    def against(self, best: Any, others: Mapping[str, Any], seed: int) -> dict[str, Any]:  # noqa: ARG002 - drawn before
        return lead_of(best[1], {name: found for name, (_, found) in others.items()})

    def value(self, found: LabelMeasured) -> float:
        return found.figures.map

    def interval(self, found: LabelMeasured) -> tuple[float, float]:
        return found.interval

    def cells(self, found: LabelMeasured) -> list[str]:
        low, high = found.interval
        four = (found.figures.micro_f1, found.figures.f1_at_3, found.nll, found.ece)
        return [f"{found.figures.map:.4f}", f"{low:.3f} to {high:.3f}", *(f"{x:.4f}" for x in four)]

    def lead(self, pair: Any) -> Difference:
        found: Difference = pair.map
        return found

    def truth(self, outcomes: LabelOutcomes) -> NDArray[Any]:
        return outcomes.truth


ONE_CLASS, ANY_LABELS = OneClass(), AnyLabels()


def family_of(candidates: Sequence[Candidate]) -> Family:
    """Return the family of a comparison: any number of labels if all candidates are of such kinds, else one class."""
    several = all(each.kind in LABEL_KINDS or each.kind in LABEL_CONTROL_KINDS for each in candidates)
    return ANY_LABELS if candidates and several else ONE_CLASS
