"""A head of the grid, judged on validation rows and then perhaps tested, and the questions that choose among heads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.trial import Trial
from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.outcomes import SMALLEST, Outcomes
from classifiers.evaluation.paired import figures
from classifiers.reproduce.gmm.divisions import Numbers
from classifiers.reproduce.gmm.entrants import Entrant
from classifiers.reproduce.gmm.plan import Plan
from classifiers.reproduce.gmm.projected import Size


@dataclass(frozen=True, slots=True)
class Cell:
    """One head of the grid in one run, judged on validation rows.

    Attributes:
        dims: number of principal components D.
    """

    entrant: Entrant
    components: int
    size: Size
    dims: int
    trial: Trial

    @property
    def loss(self) -> float:
        """NLL of the validation rows after temperature, in nats, by which cells are chosen."""
        return float(self.trial.evaluation.nll)

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation rows, in 0…1."""
        return float(self.trial.evaluation.accuracy)

    @property
    def parameters(self) -> int:
        """Number of learned values, by the formula."""
        return self.entrant.count(len(self.trial.evaluation.classes), self.components, self.dims)


@dataclass(frozen=True, slots=True)
class Tested:
    """A cell on the test rows of its run.

    Attributes:
        figures: its figures, with probabilities after temperature.
        outcomes: the outcome of each row, (n,).
        rows: numbers of these rows among all rows of the task, (n,).
    """

    cell: Cell
    figures: Evaluation
    outcomes: Outcomes
    rows: Numbers

    def by_row(self) -> NDArray[np.float64]:
        """Return three figures of each row, (n, 3): right or not, NLL, and NLL before the temperature, in nats."""
        plain = -np.log(np.maximum(self.outcomes.uncalibrated.astype(np.float64), SMALLEST))
        return np.column_stack([figures(self.outcomes), plain])


CHOSEN, ONE, SEVERAL, REDUCED, WHOLE = "chosen", "one component", "several components", "reduced", "all dimensions"
"""Names of the arms of a head: its choice among all cells, among some numbers of components, and of dimensions."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A question's side: of the cells that it allows, the one with the least validation loss is tested."""

    entrant: str
    name: str = CHOSEN
    allows: Callable[[Cell], bool] = lambda _: True


def arms(plan: Plan) -> Iterator[Arm]:
    """Yield the arms of each head that the grid has cells for."""
    for each in plan.entrants:
        yield Arm(each.key)
        if each.grows and len(plan.components) > 1:
            yield Arm(each.key, ONE, lambda cell: cell.components == 1)
            yield Arm(each.key, SEVERAL, lambda cell: cell.components > 1)
        for name, size in ((REDUCED, plan.reduced), (WHOLE, plan.whole)):
            if size is not None:
                yield Arm(each.key, name, partial(_has_size, size))


def _has_size(size: Size, cell: Cell) -> bool:
    return cell.size == size
