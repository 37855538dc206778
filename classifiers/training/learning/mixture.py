"""Training of mixture heads, with start, penalty and number of components chosen on validation rows or folds.

The first pass over the validation rows scores starts, which are in closed form, under every shrinkage and power. The
second pass trains from a few of them with every C, and with C = 0, which keeps the start. So on these rows the chosen
head is at least as good as the best start.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import mean_nll
from classifiers.evaluation.choice import choose
from classifiers.fit.gaussian.mixture import MixtureClassifier, Setting
from classifiers.fit.gaussian.parameters import check_mixture
from classifiers.heads.base import Head
from classifiers.training.learning.learn import learn_in_memory
from classifiers.training.learning.linear import nll
from classifiers.training.learning.tuning import AUTO, tuning_rows
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored

GRID: dict[str, tuple[float, ...]] = {
    "components": (1, 2, 4),
    "shrinkage": (0.1, 0.25, 0.5, 0.75),
    "power": (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 0.0),
    "C": (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
}
"""Values of each parameter that are tried if it is `AUTO`."""

Start = tuple[float, float]
"""Shrinkage and power."""
Key = tuple[int, Setting]
"""A candidate: its number of components, and its other parameters."""


def learn_mixture(estimator: MixtureClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn with the values of `AUTO` parameters that have the least NLL after temperature on validation rows or folds.

    The defaults of `MixtureClassifier` are used if there are no rows to choose on.
    """
    given, defaults = estimator.get_params(), MixtureClassifier().get_params()
    wanted = [name for name in GRID if given[name] == AUTO]
    estimator.set_params(**{name: defaults[name] for name in wanted})
    check_mixture(estimator)
    if not wanted:
        return learn_in_memory(estimator, rows, classes)
    if estimator.metric != "white" and "shrinkage" in wanted:
        wanted.remove("shrinkage")
    grid = {name: GRID[name] if name in wanted else (estimator.get_params()[name],) for name in GRID}
    found = candidates(estimator, rows, classes, grid)
    if not found:
        return learn_in_memory(estimator, rows, classes)
    truth = next(iter(found.values())).truth
    choice = choose((each.scores for each in found.values()), truth)
    components, setting = list(found)[choice.best]
    learned = learn_in_memory(estimator.set_params(components=components, **setting._asdict()), rows, classes)
    if choice.left_out is None or not rows.has_validation:
        return learned
    return replace(learned, validated=[Scored(choice.left_out, truth).narrowed(learned.head.classes, classes)])


@dataclass(frozen=True, slots=True)
class View:
    """Training rows X with their labels, and rows V that are held out from them, with codes in `present`."""

    present: Sequence[str]
    X: NDArray[np.float32]
    labels: NDArray[Any]
    V: NDArray[np.float32]
    codes: NDArray[np.int64]


def views(rows: Rows, classes: tuple[str, ...]) -> Iterator[View]:
    """Yield the views of `Rows.validations` that hold out at least one row. Raises NotTrainable, NoVectors."""
    for view in rows.validations():
        matrix = view.matrix("train", classes)
        present = require_present(view, classes, np.unique(matrix.codes))
        V, codes = view.first("val", present, tuning_rows(len(present)))
        if len(codes):
            yield View(present, matrix.X, np.array(classes)[matrix.codes], V, codes)


def candidates(
    estimator: MixtureClassifier, rows: Rows, classes: tuple[str, ...], grid: Mapping[str, Sequence[float]]
) -> dict[Key, Scored]:
    """Return the held-out rows of all views, scored under each candidate, with a column for every class.

    The result is empty if there are too few rows. Candidates that were not tried on all views are left out.
    """
    prototype = clone(estimator).set_params(blocks=rows.edges())
    found: dict[Key, list[Scored]] = {}
    try:
        losses = start_losses(prototype, views(rows, classes), grid)
        for view in views(rows, classes):
            for components in map(int, grid["components"]):
                fitting = prototype.set_params(components=components)
                for setting, scored in path(fitting, view, starts(losses, components), grid["C"]):
                    found.setdefault((components, setting), []).append(scored.aligned(view.present, classes))
    except NotTrainable:
        return {}
    most = max(map(len, found.values()), default=0)
    return {key: Scored.concatenate(parts) for key, parts in found.items() if len(parts) == most}


def start_losses(
    estimator: MixtureClassifier, given: Iterator[View], grid: Mapping[str, Sequence[float]]
) -> dict[Start, float]:
    """Return the total NLL of held-out rows under every start with the first number of components, in nats.

    A single start is not scored.
    """
    losses = {(shrinkage, power): 0.0 for shrinkage in grid["shrinkage"] for power in grid["power"]}
    components = int(grid["components"][0])
    settings = [Setting(*start, 0.0) for start in losses if components == 1 or start[1]]
    if len(losses) == 1:
        return losses
    estimator.set_params(components=components)
    for view in given:
        for setting, fitted in zip(settings, estimator.path(view.X, view.labels, settings), strict=True):
            loss = mean_nll(fitted.head_.scores(view.V), view.codes, 1.0)
            losses[setting.shrinkage, setting.power] += len(view.codes) * loss
    return losses


def starts(losses: Mapping[Start, float], components: int) -> list[Start]:
    """Return the starts from which to train, sorted by shrinkage.

    For several components, they are the best start under each shrinkage. For one component, they are the best start of
    all, and the start without Gaussians (power 0) under its shrinkage and all larger ones: training gained most from a
    larger shrinkage than the one that is best in closed form.
    """
    gaussian = [start for start in losses if start[1]]
    best = {min((each for each in gaussian if each[0] == start[0]), key=losses.__getitem__) for start in gaussian}
    without = [start for start in losses if not start[1]]
    if components > 1 or not without:
        return sorted(best)
    top = [min(best, key=losses.__getitem__)] if best else []
    return sorted([*top, *(start for start in without if not top or start[0] >= top[0][0])])


def path(
    estimator: MixtureClassifier, view: View, given: Sequence[Start], values: Sequence[float]
) -> Iterator[tuple[Setting, Scored]]:
    """Yield the held-out rows of a view, scored after training from each start with each C.

    The values of C after the first one that is worse than the value before it are left out.
    """
    last: list[float] = []

    def settings() -> Iterator[Setting]:  # `MixtureClassifier.path` reads the next setting after the fit is scored
        for start in given:
            last[:] = [np.inf]
            for C in values:
                yield Setting(*start, C)
                if len(last) > 2 and last[-1] > last[-2]:
                    break

    for fitted in estimator.path(view.X, view.labels, settings()):
        scored = Scored(fitted.head_.scores(view.V), view.codes)
        last.append(nll(scored))
        described = fitted.head_.settings()
        yield Setting(*(described[name] for name in Setting._fields)), scored
