"""Choice of parameters on validation rows: the value that asks for it, the values tried, and the rows that are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from classifiers.training.rows.scored import Scored

AUTO: str = "auto"
"""Value of a parameter that training chooses on validation rows or folds. Estimators do not accept it."""

TUNING_ROWS, TUNING_CELLS = 10_000, 2_000_000
"""Maximum number of validation rows, and of their scores (rows × classes), that a parameter is chosen on. A choice
among a dozen values takes seconds. The rows are held in memory (10,000 × 1280 float32 = 51 MB)."""

PENALTIES = tuple(float(f"{10**power:.2g}") for power in np.linspace(-4, 1, 11))
"""Values of C that are tried for a penalty, 1e-4 … 10, two a decade, the cheapest first: the larger C, the more steps
a fit takes."""

UNCHOSEN = 1e-2
"""The value of C if there are no rows to choose on."""

PATIENCE = 3
"""The search for C stops after so many values in a row that are worse than the best."""


def tuning_rows(classes: int) -> int:
    """Return the maximum number of validation rows that a parameter is chosen on, given the number of classes."""
    return min(TUNING_ROWS, TUNING_CELLS // classes)


def is_auto(value: object) -> bool:
    """True if training chooses the parameter with this value."""
    return bool(value == AUTO)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Parameters that training chose, by name; none if all were given.

    Attributes:
        validated: the rows of all folds, each scored by a head of the other folds with these parameters. None if the
            task has validation rows, which the head itself can score, and if not all rows were scored.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    validated: Sequence[Scored] | None = None


class Patience:
    """The least loss so far, and the number of losses since that were worse."""

    def __init__(self) -> None:
        self.best, self.worse = np.inf, 0

    def ends(self, loss: float) -> bool:
        """Take the next loss. Returns True once `PATIENCE` losses in a row were worse than the best."""
        self.best, self.worse = min(self.best, loss), self.worse + 1 if loss > self.best else 0
        return self.worse == PATIENCE
