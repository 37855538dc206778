"""The statistics of training rows at unit norm, from which an outlier detector is learned."""

from collections.abc import Iterable

from classifiers.fit.gaussian.parallel import Batch, Form, gather, gather_forms
from classifiers.heads.gaussian.moments import Moment
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.training.rows.rows import Rows

MOST_COLUMNS = 4096
"""Maximum width of vectors with a detector. Its matrix, 67 MB in float32 at this width, is larger than most heads."""


def too_wide(rows: Rows) -> str:
    """Return why the vectors are too wide for an outlier detector; "" if they are not."""
    return f"vectors of {rows.dim} columns are wider than {MOST_COLUMNS}" if rows.dim > MOST_COLUMNS else ""


def unit_norm(rows: Rows) -> Transform:
    """Return the transform that sets the block of columns of each encoder to unit norm."""
    return Transform(rows.dim, unit=rows.edges())


class WithUnits:
    """A function like `gather` that also gathers the statistics of the rows at unit norm, from the same pass.

    Attributes:
        units: the statistics at unit norm from the last call; None before the first.
    """

    def __init__(self, rows: Rows) -> None:
        self.units: GaussianStatistics | None = None
        self._unit = unit_norm(rows)

    def __call__(
        self, batches: Iterable[Batch], n_classes: int, transform: Transform, moment: Moment
    ) -> GaussianStatistics:
        if moment == "shared" and not transform.arrays() and transform.unit == self._unit.unit:
            self.units = gather(batches, n_classes, transform)
            return self.units
        forms = (Form(transform, moment), Form(self._unit))
        found, self.units = gather_forms(batches, n_classes, forms)
        return found
