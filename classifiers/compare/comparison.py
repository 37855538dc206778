"""The state of a comparison, and what follows from it: the ranking, the winner, its lead and its controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from classifiers.compare.candidates import CONSTANT, Candidate
from classifiers.compare.curves import CurvePoint
from classifiers.compare.family import Family, family_of
from classifiers.compare.mistakes import Mistake
from classifiers.compare.trial import Trial
from classifiers.errors import BadParameter
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.training.classes import CROSS_VALIDATION
from classifiers.training.rows.rows import Rows

State = Literal["running", "stopped", "done"]

Command = Callable[[Candidate, str, Sequence[str]], str]
"""Returns the command that trains a candidate, from the candidate, the task and `Comparison.options`."""


@dataclass
class Comparison:
    """The candidates that were tried, and their results.

    Attributes:
        folder: where the comparison is stored.
        rows: the rows with the vectors of all encoders, at one snapshot.
        classes: the classes of the training rows.
        seed: seed of the bootstrap.
        options: options of the caller, passed to `train_command` and kept on disk.
        train_command: function that writes the command for readers that trains a candidate; None for no command.
        notes: facts that a reader must know, one sentence each.
        trials: results, by the candidate's label.
        failed: reasons of failures, by the candidate's label.
        pairs: the winner against every other candidate on the validation rows, by the other's label. Empty until all
            candidates are tried.
        test: figures of the winner and its controls on the test rows, by label, the winner first.
        test_pairs: the winner against each of those controls on the test rows.
        mistakes: worst mistakes of the winner on the test rows or, without them, on the validation rows.
        growth: accuracy of the winner by number of training rows, on the rows of `mistakes`; None if not measured.
        curves: accuracy against principal components, by encoder.
    """

    folder: Path
    rows: Rows
    classes: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    seed: int = 0
    options: tuple[str, ...] = ()
    train_command: Command | None = None
    notes: tuple[str, ...] = ()
    state: State = "running"
    trials: dict[str, Trial] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    test_pairs: dict[str, Any] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    growth: LearningCurve | None = None
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)

    @property
    def family(self) -> Family:
        """What the heads have in common: the figures, and how they are learned."""
        return family_of(self.candidates)

    @property
    def validated_on(self) -> str:
        """ "val", or `CROSS_VALIDATION` if the task has no validation rows."""
        return "val" if self.rows.labelled("val").num_rows else CROSS_VALIDATION

    def ranking(self) -> list[Trial]:
        """Return the trials by accuracy or mAP on the validation rows, then NLL, then fewest parameters; best first."""
        return sorted(
            self.trials.values(),
            key=lambda each: (-self.family.value(each.evaluation), each.evaluation.nll, each.parameters),
        )

    def winner(self) -> Trial | None:
        """Return the best trial that can be published."""
        return next((trial for trial in self.ranking() if trial.candidate.trainable), None)

    def controls(self) -> list[Trial]:
        """Return the controls on the winner's encoders and the constant one, without the winner itself."""
        best = self.winner()
        return [
            trial
            for trial in self.ranking()
            if best and trial is not best and is_control(trial.candidate, best.candidate.encoders)
        ]

    def pair(self, first: str, second: str) -> tuple[Trial, Trial, Any]:
        """Return two trials, given by rank (1 is the best) or label, and their comparison. Raises BadParameter."""
        a, b = self.find(first), self.find(second)
        return a, b, self.against(a, {"b": b})["b"]

    def find(self, asked: str) -> Trial:
        """Return the trial with a rank or label. Raises BadParameter."""
        ranked = self.ranking()
        if asked.isdecimal() and 1 <= int(asked) <= len(ranked):
            return ranked[int(asked) - 1]
        if asked in self.trials:
            return self.trials[asked]
        raise BadParameter(
            f"no candidate {asked!r} in {self.folder}: give a rank from 1 to {len(ranked)}, or its label"
        )

    def settle(self) -> None:
        """Compare the winner with all other candidates on the validation rows."""
        best = self.winner()
        if best is not None:
            others = [trial for trial in self.trials.values() if trial is not best]
            self.pairs = self.against(best, {each.candidate.label: each for each in others})

    def against(self, best: Trial, others: Mapping[str, Trial]) -> dict[str, Any]:
        """Return the comparison of a trial with each of the others on the validation rows, by the others' names."""
        measured = {name: (each.outcomes, each.evaluation) for name, each in others.items()}
        return self.family.against((best.outcomes, best.evaluation), measured, self.seed)

    def smallest_alike(self) -> Trial | None:
        """Return the smallest of the trials whose difference from the winner in accuracy and NLL may be chance.

        The result is None if none of these trials has fewer parameters than the winner.
        """
        best = self.winner()
        alike = [self.trials[label] for label, pair in self.pairs.items() if pair.alike]
        smaller = [each for each in alike if best and each.parameters < best.parameters]
        return min((each for each in smaller if each.candidate.trainable), key=lambda t: t.parameters, default=None)

    def command(self, trial: Trial | None) -> str:
        """Return the command that trains and publishes a candidate; "" for None, and without `train_command`."""
        return self.train_command(trial.candidate, self.rows.task, self.options) if trial and self.train_command else ""


def is_control(candidate: Candidate, encoders: Sequence[str]) -> bool:
    """True if the candidate is a control for heads on these encoders."""
    return candidate.kind in CONSTANT or (bool(candidate.control) and candidate.encoders == tuple(encoders))
