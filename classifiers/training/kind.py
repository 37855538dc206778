"""The steps that training takes for every kind of head: learn, calibrate on validation rows, report on test."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.figures import Figures
from classifiers.evaluation.reports.fusion import FusionReport
from classifiers.evaluation.reports.groups import NO_GROUPS
from classifiers.evaluation.reports.report import Report
from classifiers.heads.base import Head
from classifiers.published.manifest import Conformal
from classifiers.training.grouped import group_report
from classifiers.training.notes import calibration_of, notes
from classifiers.training.outliers import Outliers, learn_outliers, measure_ood
from classifiers.training.rows.folds import By
from classifiers.training.rows.rows import Elsewhere, Rows, Texts
from classifiers.training.rows.scored import Learned, Scored

if TYPE_CHECKING:
    from store import Snapshot, Store

H = TypeVar("H", bound=Head)

NO_LABEL = "the head learned from no label"
NOT_EXCLUSIVE = "they need one vector per row, and labels that exclude each other"


@dataclass(frozen=True, slots=True)
class Calibrated(Generic[H]):
    """A calibrated head, and its figures on the validation rows.

    Attributes:
        figures: None without validation rows.
        conformal: nonconformity scores for prediction sets; None without validation rows and for heads that give any
            number of labels.
        warnings: reasons not to use the head.
        notes: how the head was calibrated, one sentence each.
    """

    head: H
    figures: Figures | None = None
    conformal: Conformal | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """The result of training: a calibrated head, the rows that it learned from, and its report."""

    head: Head
    learned: Learned[Head]
    conformal: Conformal | None
    outliers: Outliers
    report: Report


class Kind(ABC, Generic[H]):
    """A kind of head that can be trained. `ClassKind` and `LabelKind` are the two families.

    Attributes:
        targets: number of labels of a row: exactly one, or any number.
        held_out: name of the held-out training rows in reports, if the task has no validation rows.
        estimator: class of the estimator.
        defaults: parameters that differ from the estimator's own defaults.
        reads: class that reads the rows.
        parallel: True if other processes can gather the statistics that it learns from, for one encoder.
        folds: True if training rows are held out fold by fold. Otherwise few are held out, and a split `val` is used
            instead, however small it is.
        compare: (estimator, rows, head) → the comparisons of a fused head, by split.
    """

    targets: ClassVar[Literal["one", "any"]]
    held_out: ClassVar[str]
    estimator: type[Any]
    defaults: Mapping[str, Any]
    reads: type[Rows] = Rows
    parallel: bool = False
    folds: bool = True
    compare: Callable[[Any, Rows, Any], dict[str, FusionReport]] | None = None

    def rows(
        self,
        store: "Store",
        task: str,
        encoders: Sequence[str],
        snapshot: "Snapshot",
        *,
        texts: Texts | None = None,
        elsewhere: Elsewhere | None = None,
        units: bool = False,
    ) -> Rows:
        """Return the rows of a task, as this kind reads them. Raises NotTrainable if `elsewhere` cannot be used."""
        if elsewhere is not None and not (self.parallel and len(encoders) == 1):
            raise NotTrainable(
                "several processes together can learn only heads of kind gaussian on one encoder; learn this head, on "
                f"{len(encoders)} encoder(s), in one process"
            )
        return self.reads(store, task, tuple(encoders), snapshot, texts=texts, elsewhere=elsewhere, units=units)

    def train(self, estimator: Any, rows: Rows, parameters: Mapping[str, Any], seed: int) -> Made:
        """Learn from the training rows, calibrate on validation or held-out rows, and look once at `test`.

        Args:
            estimator: not fitted. Training sets the parameters that it chooses on it.
            parameters: parameters of the estimator, as the user gave them.
            seed: seed of the bootstrap intervals.

        Raises UnknownTask, UnknownFeatures, NotTrainable, BadParameter.
        """
        rows.blocks()  # first, so that an unknown encoder is not reported as missing vectors
        learned = self.learned(estimator, rows)
        calibrated = self.calibrated(rows, learned, seed)
        head, exclusive = calibrated.head, self.reads is Rows and rows.one_each
        if exclusive and any(learned.counts):
            outliers = learn_outliers(rows, head.classes, learned.units)
        else:
            outliers = Outliers(lacks=NO_LABEL if exclusive else NOT_EXCLUSIVE)
        on_val = self.validates(rows)
        figures = {
            **({} if on_val else {self.held_out: calibrated.figures}),
            "val": calibrated.figures if on_val else self.evaluate(rows, head, "val", seed),
            "test": self.evaluate(rows, head, "test", seed),
        }
        found = {split: each for split, each in figures.items() if each}
        used = {"train": learned.rows} | {
            split: found[split].rows if split in found else 0 for split in ("val", "test")
        }
        groups = group_report(rows, head, lambda by: self.crossed(estimator, rows, learned.head, by), self.figure)
        report = Report(
            task=rows.task,
            kind=head.kind,
            encoders=tuple(features.name for features in rows.features),
            parameters=parameters,
            settings=head.settings(),
            rows=used,
            temperature=head.temperature,
            evaluations=found,
            warnings=calibrated.warnings,
            remarks=(
                *learned.notes,
                *calibrated.notes,
                *notes(rows, used, learned, outliers, self.targets),
                *(groups.notes() if groups else (NO_GROUPS,) if any(learned.counts) else ()),
            ),
            calibration=calibration_of(rows, learned, "val" if on_val else self.held_out, folds=self.folds),
            groups=groups,
            ood=measure_ood(rows, head, outliers) if exclusive else None,
            fusion=self.compare(estimator, rows, head) if self.compare else {},
        )
        return Made(head, learned, calibrated.conformal, outliers, report)

    @abstractmethod
    def learned(self, estimator: Any, rows: Rows) -> Learned[H]:
        """Learn from the training rows, and score rows that the head did not learn from."""

    def validates(self, rows: Rows) -> bool:
        """Return True if the head is calibrated on the split `val`, and not on held-out training rows."""
        return rows.has_validation or (not self.folds and rows.labelled("val").num_rows > 0)

    @property
    @abstractmethod
    def figure(self) -> tuple[str, Callable[[Scored], float]]:
        """Name and function of the figure, in 0…1, by which folds of rows and folds of groups are compared."""

    @abstractmethod
    def crossed(self, estimator: Any, rows: Rows, head: H, by: By) -> Sequence[Scored]:
        """Return the training rows, scored by heads that did not learn from their fold; empty if that is not possible.

        Args:
            estimator: the one that learned `head`, with the parameters that training chose.
            head: not calibrated.
        """

    @abstractmethod
    def calibrated(self, rows: Rows, learned: Learned[H], seed: int) -> Calibrated[H]:
        """Calibrate a head on `learned.validated`, and measure it on the same rows."""

    @abstractmethod
    def learn_again(self, estimator: Any, rows: Rows, classes: tuple[str, ...]) -> H:
        """Learn a head from the training rows of a view with a fold held out, and choose nothing on the fold.

        Args:
            estimator: not fitted, with the parameters that training chose for the head of all rows.
            classes: classes or labels of that head; the new one may lack those whose rows are all held out.

        Raises NotTrainable.
        """

    @abstractmethod
    def probabilities(
        self, rows: Rows, head: H, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Yield the rows of a split as (ids, probabilities (n, K) of `classes`), calibrated on the first batch.

        A class that the head does not know has probability 0.
        """

    @abstractmethod
    def batches(
        self, rows: Rows, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """Yield the rows of a split as (ids, X), batch by batch."""

    @abstractmethod
    def evaluate(self, rows: Rows, head: H, split: str, seed: int) -> Figures | None:
        """Return the figures of a calibrated head on a split; None if no row has a vector and a class that it knows."""
