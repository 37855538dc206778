"""The kinds of head for rows with any number of labels, as data: estimator, default parameters, how it is validated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.multilabel.base import LabelsEstimator, hold_out
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.prompts import PROMPTS, class_vectors
from classifiers.training.label_rows import LabelledRows, LabelRows, LabelScored
from classifiers.training.rows import ids_digest
from classifiers.training.token_rows import TokenRows

Targets = Literal["one", "any"]
"""How many labels the rows of a kind have: exactly one, or any number."""


MOST_STEPS = 200
"""Of L-BFGS. Tens of labels converge in fewer; hundreds of rare ones would take a thousand, and gain nothing in mAP."""

ROWS_A_STEP = 256
"""Scored together: bounds the memory of tokens."""


@dataclass(frozen=True, slots=True)
class LabelsLearned:
    """A fitted head, and the rows that it learned from.

    Attributes:
        counts: rows of each of its labels.
        validated: rows that it did not learn from, under it or under heads made like it; None where there are none.
    """

    head: LabelsHead
    rows: int
    counts: tuple[int, ...]
    training_ids: str
    validated: LabelScored | None


def without_texts(_: LabelsEstimator) -> bool:
    """For kinds that know their labels by heart."""
    return False


@dataclass(frozen=True, slots=True)
class LabelKind:
    """One kind of head for rows with any number of labels.

    Attributes:
        rows: what its rows are read as.
        defaults: parameters that differ from the estimator's own.
        texts: estimator → whether it learns with a vector for each label's name.
        held_out: (estimator, rows, what it learned from, its head) → training rows that can stand for validation
            rows where the task has none; None where they are too few.
    """

    estimator: type[LabelsEstimator]
    defaults: Mapping[str, Any]
    held_out: Callable[[Any, LabelRows, LabelledRows, LabelsHead], LabelScored | None]
    rows: type[LabelRows] = LabelRows
    texts: Callable[[Any], bool] = without_texts
    targets: ClassVar[Targets] = "any"


def learn_labels(kind: LabelKind, estimator: LabelsEstimator, rows: LabelRows) -> LabelsLearned:
    """Learns from all training rows at once: n × d × 4 bytes, and what the solver adds. Raises NotTrainable."""
    if kind.texts(estimator):
        require_one_text_side(rows)
    classes = rows.classes()
    training = rows.labelled_rows("train", classes)
    present = np.flatnonzero(training.Y.any(axis=0)).tolist()
    if len(present) < 2:
        raise NotTrainable(
            f"of the {len(classes)} labels of task {rows.task!r}, {len(present)} have training rows with vectors of "
            f"{', '.join(rows.encoders)}; run a backfill with that encoder first"
        )
    known = LabelledRows(training.ids, training.X, training.Y[:, present])
    head = fit(estimator, rows, known, tuple(classes[k] for k in present), texts=kind.texts(estimator))
    if rows.labelled("val").num_rows:
        validated = LabelScored.of(rows, head, "val")
    else:
        validated = kind.held_out(estimator, rows, known, head)
    counts = np.count_nonzero(known.Y, axis=0).tolist()
    return LabelsLearned(head, len(known.ids), tuple(counts), ids_digest(known.ids), validated)


def fit(
    estimator: Any, rows: LabelRows, training: LabelledRows, classes: tuple[str, ...], *, texts: bool = False
) -> LabelsHead:
    """The head that an estimator learns from training rows, and if asked with the texts of the labels' names."""
    if "blocks" in estimator.get_params():
        estimator.set_params(blocks=rows.edges())
    text = {"text": class_vectors(rows.embed_texts, classes, estimator.prompts, rows.text_edges())} if texts else {}
    head: LabelsHead = estimator.fit(training.X, training.Y, classes, **text).head_
    return head


def require_one_text_side(rows: LabelRows) -> None:
    """Raises NotTrainable unless the rows are of one encoder, whose text side is at hand."""
    if len(rows.encoders) != 1:
        raise NotTrainable(
            f"this kind compares pictures with the texts of one encoder, got {len(rows.encoders)}: "
            f"{', '.join(rows.encoders)}; train one head for each"
        )
    rows.require_texts()


def fold_by_fold(estimator: LabelsEstimator, rows: LabelRows, _: LabelledRows, head: LabelsHead) -> LabelScored | None:
    """The training rows, each under a head learned with the same settings from the other folds."""
    parts = []
    for view in rows.validations():
        fold = fit(clone(estimator), view, view.labelled_rows("train", head.classes), head.classes)
        part = LabelScored.of(view, fold, "val")
        parts += [part] if part else []
    return LabelScored.concatenate(parts)


def rows_held_out(
    estimator: BilinearClassifier | DecoderClassifier, _: LabelRows, training: LabelledRows, head: LabelsHead
) -> LabelScored | None:
    """The training rows that the estimator held out to know when to stop; all of them where it learned from none."""
    if not estimator.epochs:
        held = np.arange(len(training.ids))
    else:
        held = hold_out(training.Y, estimator.held_out, estimator.seed)[1]
    steps = [held[start : start + ROWS_A_STEP] for start in range(0, len(held), ROWS_A_STEP)]
    return LabelScored.concatenate(
        [LabelScored(head.scores(training.X[some].reshape(len(some), -1)), training.Y[some]) for some in steps]
    )


LABEL_KINDS: dict[str, LabelKind] = {
    "labelwise": LabelKind(LabelwiseClassifier, {"max_iter": MOST_STEPS}, fold_by_fold),
    "bilinear": LabelKind(BilinearClassifier, {"prompts": list(PROMPTS)}, rows_held_out, texts=lambda _: True),
    "decoder": LabelKind(
        DecoderClassifier,
        {"prompts": list(PROMPTS)},
        rows_held_out,
        rows=TokenRows,
        texts=lambda estimator: estimator.queries == "text",
    ),
}
