"""The state of a comparison, and what follows from it: the ranking, the winner, its lead and its controls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from classifiers.compare.candidates import MAJORITY, Candidate
from classifiers.compare.curves import CurvePoint
from classifiers.compare.mistakes import Mistake
from classifiers.compare.trial import Trial
from classifiers.errors import BadParameter
from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.paired import Pair, paired_bootstrap
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
    pairs: dict[str, Pair] = field(default_factory=dict)
    test: dict[str, Evaluation] = field(default_factory=dict)
    test_pairs: dict[str, Pair] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()
    growth: LearningCurve | None = None
    curves: dict[str, list[CurvePoint]] = field(default_factory=dict)

    @property
    def validated_on(self) -> str:
        """ "val", or `CROSS_VALIDATION` if the task has no validation rows."""
        return "val" if self.rows.has_validation else CROSS_VALIDATION

    def ranking(self) -> list[Trial]:
        """Return the trials by accuracy on the validation rows, then NLL, then fewest parameters; the best first."""
        return sorted(
            self.trials.values(), key=lambda each: (-each.evaluation.accuracy, each.evaluation.nll, each.parameters)
        )

    def winner(self) -> Trial | None:
        """Return the best trial that can be published, so not the majority class."""
        return next((trial for trial in self.ranking() if trial.candidate.kind != MAJORITY), None)

    def controls(self) -> list[Trial]:
        """Return the controls on the winner's encoders and the majority class, without the winner itself."""
        best = self.winner()
        return [
            trial
            for trial in self.ranking()
            if best and trial is not best and is_control(trial.candidate, best.candidate.encoders)
        ]

    def pair(self, first: str, second: str) -> tuple[Trial, Trial, Pair]:
        """Return two trials, given by rank (1 is the best) or label, and their comparison. Raises BadParameter."""
        a, b = self.find(first), self.find(second)
        return a, b, paired_bootstrap(a.outcomes, [b.outcomes], seed=self.seed)[0]

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
            self.pairs = against(best.outcomes, {each.candidate.label: each.outcomes for each in others}, self.seed)

    def smallest_alike(self) -> Trial | None:
        """Return the smallest of the trials whose difference from the winner in accuracy and NLL may be chance.

        The result is None if none of these trials has fewer parameters than the winner.
        """
        best = self.winner()
        alike = [self.trials[label] for label, pair in self.pairs.items() if pair.alike]
        smaller = [each for each in alike if best and each.parameters < best.parameters]
        return min(
            (each for each in smaller if each.candidate.kind != MAJORITY), key=lambda t: t.parameters, default=None
        )

    def command(self, trial: Trial | None) -> str:
        """Return the command that trains and publishes a candidate; "" for None, and without `train_command`."""
        return self.train_command(trial.candidate, self.rows.task, self.options) if trial and self.train_command else ""


def is_control(candidate: Candidate, encoders: Sequence[str]) -> bool:
    """True if the candidate is a control for heads on these encoders."""
    return candidate.kind == MAJORITY or (bool(candidate.control) and candidate.encoders == tuple(encoders))


def against(best: Outcomes, others: dict[str, Outcomes], seed: int) -> dict[str, Pair]:
    """Return the comparison of `best` with each of `others` on the same rows, by the names of the others."""
    return dict(zip(others, paired_bootstrap(best, list(others.values()), seed=seed), strict=True))
