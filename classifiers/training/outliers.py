"""The outlier detector of a training run, its percentiles on rows that it did not learn from, and how well it works."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import outlier_percentile, score_quantiles
from classifiers.evaluation.trust import OutOfDistribution, auroc
from classifiers.fit.gaussian.parallel import Batch, gather
from classifiers.fit.outlier import left_out_scores
from classifiers.heads.base import Head
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.outlier import OutlierDetector, PrecisionPair, doubt
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.units import too_wide, unit_norm

LIMITS = (95, 99)
"""Outlier percentiles for which the report states the share of rows that a limit would turn away."""


@dataclass(frozen=True, slots=True)
class Outliers:
    """A detector with the quantiles of its scores; or neither, with the reason in `lacks`."""

    detector: OutlierDetector | None = None
    quantiles: tuple[float, ...] = ()
    lacks: str = "no rows to calibrate on"


def learn_outliers(rows: Rows, classes: tuple[str, ...], units: GaussianStatistics | None = None) -> Outliers:
    """Return a detector from the training rows of `classes`, and its quantiles on validation rows.

    If the task has no validation rows, the quantiles are those of the training rows that the head is calibrated on,
    each scored as if the detector had not learned from it.

    Args:
        units: statistics of these rows at unit norm, if they were gathered before.
    """
    if reason := too_wide(rows):
        return Outliers(lacks=reason)
    unit = unit_norm(rows)
    if units is None:
        units = gather((Batch(*known) for known in rows.known("train", classes)), len(classes), unit)
    try:
        solved = PrecisionPair.of(units)
    except NotTrainable as error:
        return Outliers(lacks=str(error))
    detector = OutlierDetector.fold(units, solved, unit.unit)
    scores: list[NDArray[Any]] = []
    for view in rows.validations():
        for X, codes in view.known("val", classes):
            if view is rows:
                scores.append(detector.score(X))
            elif (several := units.counts[codes] > 1).any():
                scores.append(left_out_scores(units, solved, unit(X[several]), codes[several]))
    return Outliers(detector, score_quantiles(np.concatenate(scores))) if scores else Outliers()


def measure_ood(rows: Rows, head: Head, outliers: Outliers) -> OutOfDistribution | None:
    """Measure how well out-of-distribution rows stand out from rows of `test`, or of `val` if there is no test row.

    The result is None if there are no rows of either sort. The out-of-distribution vectors are held in memory.
    """
    vectors = rows.ood(head.classes).X  # not streamed: out-of-distribution rows may have any labels, which are not read
    if not len(vectors):
        return None
    split = next((split for split in ("test", "val") if rows.labelled(split).num_rows), "test")
    parts = [suspicion(X, head, outliers.detector) for X, _ in rows.known(split, head.classes)]
    if not parts:
        return None
    known, ood = np.concatenate(parts), suspicion(vectors, head, outliers.detector)
    names = ("max_probability", "outlier") if outliers.detector else ("max_probability",)
    flagged = {}
    if outliers.detector:
        a, b = (outlier_percentile(scores[:, 1], outliers.quantiles) for scores in (ood, known))
        flagged = {limit: (float(np.mean(a > limit)), float(np.mean(b > limit))) for limit in LIMITS}
    return OutOfDistribution(
        rows=len(ood),
        against=split,
        against_rows=len(known),
        auroc={name: auroc(known[:, i], ood[:, i]) for i, name in enumerate(names)},
        flagged=flagged,
    )


def suspicion(X: NDArray[np.float32], head: Head, detector: OutlierDetector | None) -> NDArray[np.float32]:
    """Return 1 - the largest probability of rows X, and their outlier score if there is a detector, (n, 1 or 2)."""
    columns = [doubt(head.predict_proba(X)), *([detector.score(X)] if detector else [])]
    return np.column_stack(columns)
