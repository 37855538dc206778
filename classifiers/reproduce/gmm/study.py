"""The run of the experiment: every head on every number of dimensions; those that validation rows chose, on test."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from classifiers.compare.family import ONE_CLASS
from classifiers.compare.trial import Trial, examine
from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.parallel import blas
from classifiers.reproduce.gmm.cells import Cell, Tested, arms
from classifiers.reproduce.gmm.divisions import AllRows, Division, by_folds, by_seeds
from classifiers.reproduce.gmm.entrants import Entrant
from classifiers.reproduce.gmm.plan import Plan
from classifiers.reproduce.gmm.projected import OnComponents, Projection, Size
from classifiers.training.rows.rows import Rows

Progress = Callable[[int, int, str], None]
"""A function that is called with (number of heads done, number of all heads, what is learned now)."""


@dataclass(frozen=True, slots=True)
class Run:
    """All cells of one encoder in one run, and what the arms chose of them, on test rows.

    Attributes:
        cells: by key of the head, number of components, and size.
        tested: by key of the head and name of the arm.
        left_out: what of the grid was not learned, and why, one sentence a cell.
    """

    division: Division
    encoder: str
    cells: Mapping[tuple[str, int, Size], Cell]
    tested: Mapping[tuple[str, str], Tested]
    left_out: tuple[str, ...]


@dataclass
class Study:
    """The experiment on one task. `run` fills `runs`; only divisions that all encoders finished are in it."""

    source: Rows
    plan: Plan
    runs: list[Run] = field(default_factory=list)

    @cached_property
    def rows(self) -> AllRows:
        return AllRows.read(self.source)

    @cached_property
    def divisions(self) -> Sequence[Division]:
        plan = self.plan
        if plan.folds:
            return list(by_folds(self.rows, plan.folds, plan.seed))
        return list(by_seeds(self.rows, range(plan.seed, plan.seed + plan.seeds)))

    @property
    def heads(self) -> int:
        """Number of heads that will be learned, if none is left out."""
        return len(self.divisions) * len(self.source.encoders) * sum(1 for _ in self.plan.cells())

    @property
    def finished(self) -> int:
        """Number of finished divisions."""
        return len(self.runs) // len(self.source.encoders)

    def run(self, on_progress: Progress = lambda *_: None) -> None:
        """Learn, choose and test in every division. BLAS uses one thread, as in comparisons.

        Raises NotTrainable, BadVectors, BadParameter.
        """
        done, total = 0, self.heads
        with blas().limit(limits=1):
            for division in self.divisions:
                finished = []
                for encoder in self.source.encoders:
                    run = OneRun(self, division, encoder)
                    for _ in run.learn():
                        done += 1
                        on_progress(done, total, f"{encoder}, {division.name}")
                    finished.append(run.tested())
                self.runs += finished


class OneRun:
    """The heads of one encoder in one division. Those with the same dimensions share their rows and components."""

    def __init__(self, study: Study, division: Division, encoder: str) -> None:
        self.study, self.division, self.encoder = study, division, encoder
        self.projection = Projection.of(study.rows, division, encoder, study.plan.norm, whiten=study.plan.whiten)
        self.cells: dict[tuple[str, int, Size], Cell] = {}
        self.left_out: list[str] = []
        self._trials: dict[tuple[str, int, int], Trial] = {}
        self._views: dict[int, OnComponents] = {}

    def learn(self) -> Iterator[None]:
        """Learn the cells of the grid one by one, each judged on validation rows; test rows are not read.

        Raises NotTrainable if none could be learned.
        """
        for size, entrant, components in self.study.plan.cells():
            dims = size.of(self.projection.explained)
            if reason := self._why_not(entrant, components, dims):
                self.left_out.append(f"{entrant.name} {reason}")
            else:
                try:
                    trial = self._trial(entrant, components, dims)
                    self.cells[entrant.key, components, size] = Cell(entrant, components, size, dims, trial)
                except NotTrainable as error:
                    self.left_out.append(f"{entrant.name}: {error}")
            yield
        if not self.cells:
            raise NotTrainable(f"no head of the grid could be learned; {self.left_out[0]}")

    def _why_not(self, entrant: Entrant, components: int, dims: int) -> str:
        most = self.study.plan.most_parameters
        if dims > len(self.projection.explained):
            return f"with {dims:,} dimensions: the training rows vary in {len(self.projection.explained):,}"
        classes = len(np.unique(self.study.rows.codes[self.division.train]))
        if entrant.grows and entrant.count(classes, components, dims) > most:
            return f"with more than {most:,} parameters"
        return ""

    def _trial(self, entrant: Entrant, components: int, dims: int) -> Trial:
        key = (entrant.key, components, dims)
        if key not in self._trials:
            rows = self._view(dims)
            candidate = entrant.candidate(self.encoder, components, self.study.plan.params)
            self._trials[key] = examine(candidate, rows, rows.classes(), self.study.plan.seed, ONE_CLASS)[0]
        return self._trials[key]

    def _view(self, dims: int) -> OnComponents:
        if dims not in self._views:  # cells come by dimensions, so one view is kept
            self._views = {dims: self.projection.view(self.study.source, self.encoder, dims)}
        return self._views[dims]

    def tested(self) -> Run:
        """Choose a cell for every arm by validation rows, learn these again, and measure each on test once."""
        known: dict[tuple[str, int, int], Tested] = {}
        found = {}
        for arm in arms(self.study.plan):
            allowed = [each for each in self.cells.values() if each.entrant.key == arm.entrant and arm.allows(each)]
            if allowed:
                best = min(allowed, key=lambda cell: cell.loss)
                key = (arm.entrant, best.components, best.dims)
                if key not in known:
                    known[key] = self._test(best)
                found[arm.entrant, arm.name] = known[key]
        return Run(self.division, self.encoder, self.cells, found, tuple(self.left_out))

    def _test(self, cell: Cell) -> Tested:
        rows = self._view(cell.dims)
        head = ONE_CLASS.relearn(cell.trial, rows, rows.classes())
        outcomes = ONE_CLASS.outcomes_on(rows, head, "test")
        known = rows.matrix("test", head.classes).codes >= 0
        figured = ONE_CLASS.measure(outcomes, head.classes, self.study.plan.seed)
        return Tested(cell, figured, outcomes, self.division.test[known])
