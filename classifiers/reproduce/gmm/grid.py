"""The grid of validation figures: dimensions by heads and numbers of components, as a table and as a chart."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from classifiers.evaluation import plots
from classifiers.evaluation.html import Picture
from classifiers.reproduce.gmm.cells import Cell
from classifiers.reproduce.gmm.entrants import Entrant
from classifiers.reproduce.gmm.plan import Plan
from classifiers.reproduce.gmm.projected import Size
from classifiers.reproduce.gmm.study import Run
from classifiers.reproduce.paper import Table


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of one encoder in all runs."""

    plan: Plan
    runs: tuple[Run, ...]

    def cells(self, entrant: Entrant, components: int, size: Size) -> list[Cell]:
        """Return a cell of the grid in each run that has it."""
        key = (entrant.key, components, size)
        return [run.cells[key] for run in self.runs if key in run.cells]

    def lines(self) -> Iterator[tuple[Entrant, int]]:
        """Yield each head with each of its numbers of components."""
        for entrant in self.plan.entrants:
            yield from ((entrant, count) for count in (self.plan.components if entrant.grows else (1,)))

    def dims(self, size: Size) -> str:
        """Return the numbers of dimensions of a size, from the least to the most of all runs."""
        found = {each.dims for run in self.runs for each in run.cells.values() if each.size == size}
        ends = sorted({min(found), max(found)}) if found else []
        return " to ".join(f"{each:,}" for each in ends)

    def table(self, encoder: str) -> Table:
        """Return the validation accuracy of every cell, mean over the runs."""
        sizes = self.plan.sizes
        rows = [
            (entrant.name, str(count) if entrant.grows else "", *(self._shown(entrant, count, size) for size in sizes))
            for entrant, count in self.lines()
        ]
        titles = ("head", "=G", *(f"=P {size.label} ({self.dims(size)})" for size in sizes))
        return Table(
            f"{encoder}: validation accuracy / NLL by share P of the variance (dimensions D) and components G",
            titles,
            tuple(rows),
            ("Means over the runs. – is a cell that was left out. Dimensions and components are chosen by this NLL.",),
        )

    def _shown(self, entrant: Entrant, components: int, size: Size) -> str:
        found = self.cells(entrant, components, size)
        if not found:
            return "–"
        return f"{np.mean([each.accuracy for each in found]):.3f} / {np.mean([each.loss for each in found]):.2f}"

    def curve(self, entrant: Entrant) -> plots.Line | None:
        """Return the validation accuracy of a head by dimensions, each with its best number of components by NLL."""
        dims, accuracy, losses = [], [], []
        for size in self.plan.sizes:
            counts = [count for each, count in self.lines() if each is entrant]
            if tried := [found for count in counts if (found := self.cells(entrant, count, size))]:
                best = min(tried, key=lambda found: float(np.mean([each.loss for each in found])))
                dims.append(round(float(np.mean([each.dims for each in best]))))
                accuracy.append(float(np.mean([each.accuracy for each in best])))
                losses.append(float(np.mean([each.loss for each in best])))
        if not dims:
            return None
        order = np.argsort(dims, kind="stable").tolist()
        marked = order.index(int(np.argmin(losses)))
        return plots.Line([dims[i] for i in order], [accuracy[i] for i in order], marked)


def chart(encoder: str, number: int, grid: Grid) -> Picture:
    """Return accuracy against dimensions, one curve for each head of one encoder."""
    lines = {each.name: line for each in grid.plan.entrants if (line := grid.curve(each))}
    tops = ", ".join(f"{name} {max(line.accuracy):.1%}" for name, line in lines.items())
    return Picture(
        f"accuracy-{number}",
        plots.png(plots.pca(lines, ringed="ringed: least validation NLL")),
        text=f"Validation accuracy of each head on the vectors of {encoder}, by the number of principal components.",
        caption=f"{encoder}: mean over the runs, with the number of mixture components that is best there by NLL. "
        f"Highest: {tops}.",
    )
