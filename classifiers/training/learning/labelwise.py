"""The penalty of labelwise heads, chosen on validation rows or folds for all labels together.

A choice for each label of its own was no better: on coco18_share the mAP of the folds was the same, because a rare
label has few positive rows to choose on.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.base import clone

from classifiers.evaluation.reports.labels import binary_nll
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.training.learning.tuning import AUTO, PENALTIES, UNCHOSEN, Chosen, Patience, tuning_rows
from classifiers.training.rows.rows import LabelledRows, Rows
from classifiers.training.rows.scored import Scored


def choose_labelwise_penalty(estimator: LabelwiseClassifier, rows: Rows, labels: tuple[str, ...]) -> Chosen:
    """Choose the C that has the least NLL of a label after calibration, unless one is given.

    C is `UNCHOSEN` if there are no rows to choose on.
    """
    if estimator.get_params()["C"] != AUTO:
        return Chosen()
    most, complete, found = tuning_rows(len(labels)), True, []
    for view in rows.validations():
        held = view.labelled_rows("val", labels)
        complete = complete and len(held.ids) <= most
        some = LabelledRows(held.ids[:most], held.X[:most], held.Y[:most])
        training = view.labelled_rows("train", labels)
        if len(some.ids) and len(training.ids):
            fresh = clone(estimator).set_params(blocks=view.edges())
            found.append(list(path(fresh, training, some, labels)))
    tried = [Scored.concatenate(parts) for parts in zip(*found, strict=False)]
    if not tried:
        return Chosen({"C": UNCHOSEN})
    best = int(np.argmin([nll(each) for each in tried]))
    crossed = complete and not rows.has_validation
    return Chosen({"C": PENALTIES[best]}, [parts[best] for parts in found] if crossed else None)


def path(
    estimator: LabelwiseClassifier, training: LabelledRows, held: LabelledRows, labels: tuple[str, ...]
) -> Iterator[Scored]:
    """Yield held-out rows, scored by a head of each C, until `PATIENCE` values in a row are worse than the best."""
    patience = Patience()
    for fitted in estimator.path(training.X, training.Y, PENALTIES, labels):
        scored = Scored(fitted.head_.scores(held.X), held.Y)
        yield scored
        if patience.ends(nll(scored)):
            return


def nll(scored: Scored) -> float:
    """Return the NLL of a label after the best calibration, in nats, for n ≥ 1 rows."""
    platt = fit_platt(scored.scores, scored.truth)
    return binary_nll((scored.scores + platt.shift) / platt.temperature, scored.truth)
