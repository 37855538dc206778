"""Training of linear heads, with the penalty on the weights chosen on validation rows or folds."""

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.evaluation.choice import choose
from classifiers.fit.linear import LinearClassifier
from classifiers.heads.base import Head
from classifiers.heads.linear import LinearHead
from classifiers.training.learning.learn import learn_in_memory
from classifiers.training.learning.tuning import AUTO, PENALTIES, UNCHOSEN, Patience, tuning_rows
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored


def learn_linear(estimator: LinearClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn with the C that has the least NLL after temperature on validation rows or folds, unless one is given."""
    if estimator.get_params()["C"] != AUTO:
        return learn_in_memory(estimator, rows, classes)
    C, unseen = choose_penalty(estimator, rows, classes)
    learned = learn_in_memory(estimator.set_params(C=C), rows, classes)
    head = estimator.head_
    chosen = LinearHead(head.classes, head.W, head.b, head.transform, chosen={"C": C})
    validated = None if unseen is None else [unseen.narrowed(head.classes, classes)]
    return replace(learned, head=chosen, validated=validated)


def choose_penalty(estimator: LinearClassifier, rows: Rows, classes: tuple[str, ...]) -> tuple[float, Scored | None]:
    """Return the best C of `PENALTIES`, and the validation rows with scores that are independent of the choice.

    C is `UNCHOSEN` if there are too few rows to choose on. The scores have a column for every class; None without
    validation rows, and if the head's own scores can be used (see `classifiers.evaluation.choice`). Raises NoVectors.
    """
    found: list[list[Scored]] = []
    for view in rows.validations():
        try:
            found.append(list(path(clone(estimator), view, classes)))
        except NotTrainable:
            return UNCHOSEN, None
    # only the values that were tried on all folds
    tried = [Scored.concatenate(parts) for parts in zip(*filter(None, found), strict=False)]
    if not tried:
        return UNCHOSEN, None
    truth = tried[0].truth
    choice = choose((each.scores for each in tried), truth)
    if choice.left_out is None or not rows.labelled("val").num_rows:
        return PENALTIES[choice.best], None
    return PENALTIES[choice.best], Scored(choice.left_out, truth)


def path(estimator: LinearClassifier, view: Rows, classes: tuple[str, ...]) -> Iterator[Scored]:
    """Yield the first validation rows (see `tuning.TUNING_ROWS`), scored by a head of each C, (n, all classes).

    Each fit starts at the solution before. The path ends after `PATIENCE` values that are worse than the best, and it
    is empty if there is no validation row.
    """
    matrix = view.matrix("train", classes)
    present = require_present(view, classes, np.unique(matrix.codes))
    X, codes = view.first("val", present, tuning_rows(len(present)))
    if not len(codes):
        return
    estimator.set_params(blocks=view.edges())
    patience = Patience()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that has not converged is judged like any other
        for fitted in estimator.path(matrix.X, np.array(classes)[matrix.codes], PENALTIES):
            scored = Scored(fitted.head_.scores(X), codes)
            yield scored.aligned(present, classes)
            if patience.ends(nll(scored)):
                return


def nll(scored: Scored) -> float:
    """Return the NLL at the best temperature, in nats, for n ≥ 1 rows."""
    return mean_nll(scored.scores, scored.truth, fit_temperature(scored.scores, scored.truth))
