"""Training of the kinds of heads that give a row any number of labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.evaluation.chance import doubt_of_labels
from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.evaluation.reports.labels import LabelFigures
from classifiers.fit.multilabel.bank.estimator import BankClassifier
from classifiers.fit.multilabel.base import LabelsEstimator, hold_out
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.heads.base import probabilities
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.prompts import class_vectors
from classifiers.training.calibrate import calibrate_labels
from classifiers.training.kind import Calibrated, Kind
from classifiers.training.learning.tuning import Chosen
from classifiers.training.notes import calibration_notes
from classifiers.training.rows.folds import By
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import LabelledRows, Rows
from classifiers.training.rows.scored import Learned, Scored, scored_labels

HELD_OUT = "held-out"
"""Name of the held-out training rows in reports and metrics."""

ROWS_A_STEP = 256
"""Number of rows that are scored together. It bounds the memory of tokens."""

UNCALIBRATED = (
    "No rows to calibrate on: a row gets each label whose score is at least 0, and the probabilities are uncalibrated."
)


def all_given(*_: Any) -> Chosen:
    """Choose no parameter."""
    return Chosen()


@dataclass(frozen=True, slots=True)
class LabelKind(Kind[LabelsHead]):
    """A kind of head for rows with any number of labels.

    Attributes:
        hold: (estimator, rows, training rows, head) → scored training rows that replace validation rows if the task has
            none; empty if there are too few.
        reads: class that reads the rows.
        folds: True if `hold` scores all training rows, fold by fold.
        choose: (estimator, rows, labels) → the parameters that are chosen before training.
    """

    estimator: type[LabelsEstimator]
    defaults: Mapping[str, Any]
    hold: Callable[[Any, Rows, LabelledRows, LabelsHead], Sequence[Scored]]
    reads: type[Rows] = Rows
    folds: bool = True
    choose: Callable[[Any, Rows, tuple[str, ...]], Chosen] = all_given
    targets: ClassVar[Literal["one", "any"]] = "any"
    held_out: ClassVar[str] = HELD_OUT

    def learned(self, estimator: Any, rows: Rows) -> Learned[LabelsHead]:
        """Learn from all training rows at once. Memory: n × d × 4 bytes, and the solver's own."""
        if estimator.needs_texts:
            require_one_text_side(rows)
        labels = rows.label_names()
        training = rows.labelled_rows("train", labels)
        present = np.flatnonzero(training.Y.any(axis=0))
        names = require_present(rows, labels, present, "labels")
        known = LabelledRows(training.ids, training.X, training.Y[:, present])
        chosen = self.choose(estimator, rows, names)
        head = fit(estimator.set_params(**chosen.parameters), rows, known, names)
        head = with_settings(head, chosen.parameters)
        if self.validates(rows):
            validated: Sequence[Scored] = scored_labels(rows, head, "val")
        else:
            validated = chosen.validated or self.hold(estimator, rows, known, head)
        counts = tuple(np.count_nonzero(known.Y, axis=0).tolist())
        return Learned(head, counts, len(known.ids), known.ids, labels, validated)

    def calibrated(
        self,
        rows: Rows,
        learned: Learned[LabelsHead],
        seed: int,  # noqa: ARG002 - there is no interval to draw
    ) -> Calibrated[LabelsHead]:
        if not learned.validated:
            return Calibrated(learned.head, notes=(UNCALIBRATED,))
        whole = Scored.concatenate(learned.validated)
        head, figures, note = calibrate_labels(learned.head, whole)
        doubt = doubt_of_labels(whole.scores, whole.truth)
        more = calibration_notes(rows, learned, on_val=self.validates(rows), folds=self.folds, exclusive=False)
        return Calibrated(head, figures, None, (doubt,) if doubt else (), (note, *more))

    @property
    def figure(self) -> tuple[str, Callable[[Scored], float]]:
        return "mAP", lambda found: mean_average_precision(found.scores, found.truth)

    def crossed(self, estimator: Any, rows: Rows, head: LabelsHead, by: By) -> Sequence[Scored]:
        return scored_folds(estimator, rows.crossed(by), head) if self.folds else ()

    def learn_again(self, estimator: Any, rows: Rows, classes: tuple[str, ...]) -> LabelsHead:
        return fit(estimator, rows, rows.labelled_rows("train", classes), classes)

    def probabilities(
        self, rows: Rows, head: LabelsHead, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        platt = None
        for part in rows.parts(split, classes):
            scores = head.scores(part.X)
            platt = platt or fit_platt(scores, part.Y)
            yield part.ids, probabilities(scores + np.float32(platt.shift), head.link, platt.temperature)

    def batches(
        self, rows: Rows, split: str, classes: tuple[str, ...]
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        for part in rows.parts(split, classes):
            yield part.ids, part.X

    def evaluate(
        self,
        rows: Rows,
        head: LabelsHead,
        split: str,
        seed: int,  # noqa: ARG002 - there is no interval to draw
    ) -> LabelFigures | None:
        parts = scored_labels(rows, head, split)
        if not parts:
            return None
        whole = Scored.concatenate(parts)
        return LabelFigures.of(head, whole.scores, whole.truth)


def fit(estimator: Any, rows: Rows, training: LabelledRows, labels: tuple[str, ...]) -> LabelsHead:
    """Return the head that an estimator learns from training rows.

    Args:
        estimator: not fitted; its blocks are set to the columns of the encoders.

    Raises NotTrainable if it needs vectors of the labels' names, and the rows have no text side.
    """
    if "blocks" in estimator.get_params():
        estimator.set_params(blocks=rows.edges())
    given: dict[str, Any] = {}
    if estimator.needs_texts:
        given["text"] = class_vectors(rows.embed_texts, labels, estimator.prompts, rows.text_edges())
    if estimator.reads_bank:
        given["bank"] = rows.label_bank()
    head: LabelsHead = estimator.fit(training.X, training.Y, labels, **given).head_
    return head


def with_settings(head: LabelsHead, chosen: Mapping[str, Any]) -> LabelsHead:
    """Return the head with chosen parameters in its settings."""
    meta = head.meta()
    return type(head).from_arrays(head.arrays(), {**meta, "settings": {**meta["settings"], **chosen}})


def require_one_text_side(rows: Rows) -> None:
    """Raise NotTrainable unless the rows are vectors of one encoder, and the caller gave its text side."""
    if len(rows.encoders) != 1:
        raise NotTrainable(
            f"this kind compares images with the texts of one encoder, got {len(rows.encoders)}: "
            f"{', '.join(rows.encoders)}; train one head for each encoder"
        )
    rows.require_texts()


def fold_by_fold(estimator: LabelsEstimator, rows: Rows, _: LabelledRows, head: LabelsHead) -> list[Scored]:
    """Return the training rows, each scored by a head learned with the same settings from the other folds."""
    return scored_folds(estimator, rows.validations(), head)


def scored_folds(estimator: LabelsEstimator, views: Sequence[Rows], head: LabelsHead) -> list[Scored]:
    """Return the held-out rows of each view, scored by a head learned with the same settings without them."""
    parts: list[Scored] = []
    for view in views:
        fold = fit(clone(estimator), view, view.labelled_rows("train", head.classes), head.classes)
        parts += scored_labels(view, fold, "val")
    return parts


def out_of_fold_rows(estimator: BankClassifier, _: Rows, training: LabelledRows, __: LabelsHead) -> list[Scored]:
    """Return the training rows with the out-of-fold scores of the estimator, which it needed for choices of its own."""
    return [Scored(estimator.out_of_fold_, training.Y[estimator.rows_])]


def rows_held_out(
    estimator: BilinearClassifier | DecoderClassifier, _: Rows, training: LabelledRows, head: LabelsHead
) -> list[Scored]:
    """Return the scored training rows that the estimator held out to choose its epoch; all if it learned from none."""
    if not estimator.epochs:
        held = np.arange(len(training.ids))
    else:
        held = hold_out(training.Y, estimator.held_out, estimator.seed)[1]
    steps = [held[start : start + ROWS_A_STEP] for start in range(0, len(held), ROWS_A_STEP)]
    return [Scored(head.scores(training.X[some].reshape(len(some), -1)), training.Y[some]) for some in steps]
