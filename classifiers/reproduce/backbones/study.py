"""The experiment as a whole: the rows, the draws of both regimes, and what they show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from classifiers.errors import BadParameter
from classifiers.reproduce.backbones.data import Data
from classifiers.reproduce.backbones.draws import STEPS, Draw, Drawn, draw_one
from classifiers.reproduce.backbones.figures import figures
from classifiers.reproduce.backbones.findings import findings
from classifiers.reproduce.backbones.judged import JUDGING
from classifiers.reproduce.backbones.pictures import picture
from classifiers.reproduce.backbones.published import PAPER
from classifiers.reproduce.backbones.regimes import STRENGTHS, Regime, linear_probes, zero_shot
from classifiers.reproduce.backbones.rules import PENALTIES, SHRINKAGE, SideBySide
from classifiers.reproduce.backbones.tables import tables
from classifiers.reproduce.paper import Reproduction
from classifiers.training.rows.rows import Rows, Texts
from store import Store

DRAWS = 5

NOT_MEASURED = (
    "the mixture of experts of the paper: its network is not described in what could be read",
    "the few-shot tables of the paper, which fuse Tip-Adapter",
)


@dataclass
class Study:
    """The experiment on the rows of one task.

    Attributes:
        rows: the rows of the task, with the encoders as the caller ordered them.
        data: the vectors, cheapest backbone first.
        regimes: the regimes that can be measured.
        unit: unit of the costs.
        draws: number of draws of the rows on which the rules are fitted.
        rule_rows: a name in `JUDGING`.
        missing: sentences on what is left out.
        finished: for each finished draw, that of every regime.
    """

    rows: Rows
    data: Data
    regimes: list[Regime]
    unit: str
    draws: int
    rule_rows: str
    seed: int
    missing: list[str]
    finished: list[list[Draw]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sides = [SideBySide(regime.data) for regime in self.regimes]

    @classmethod
    def prepare(
        cls,
        store: Store,
        task: str,
        encoders: Sequence[str],
        *,
        costs: Sequence[float],
        unit: str,
        draws: int = DRAWS,
        rule_rows: str = "tenth",
        seed: int = 0,
        texts: Texts | None = None,
    ) -> Self:
        """Read the rows and embed the names of the classes.

        Memory: about three times the vectors of the task.

        Args:
            encoders: names or fingerprints of at least two encoders, the backbones.
            costs: positive cost of an image with each encoder, in `unit`.
            texts: function that embeds texts with an encoder; None leaves the zero-shot regime out.

        Raises:
            BadParameter: fewer than two different encoders, other values out of range.
            UnknownTask, UnknownFeatures, NotTrainable: from the store and the rows.
        """
        _check(encoders, costs, draws, rule_rows)
        rows = Rows(store, task, tuple(encoders), store.snapshot(), texts=texts)
        data = Data.read(rows, costs)
        found, missing = regimes(data, rows)
        return cls(rows, data, found, unit, draws, rule_rows, seed, missing)

    def run(self, on_step: Callable[[int, int, str], None] = lambda *_: None) -> None:
        """Make all draws. After KeyboardInterrupt, `result` has the draws that are finished.

        Args:
            on_step: called with the number of steps done, of all steps, and what was done.
        """
        steps = Steps(self.draws * len(STEPS) * len(self.regimes), on_step)
        for number in range(self.draws):
            each = zip(self.regimes, self._sides, strict=True)
            self.finished.append(
                [draw_one(regime, self.rule_rows, (self.seed, number), sides, steps.done) for regime, sides in each]
            )

    def result(self) -> Reproduction:
        """Return the tables and findings of at least one finished draw."""
        drawn = [
            Drawn(regime, draws, sides.reasons)
            for regime, draws, sides in zip(self.regimes, zip(*self.finished, strict=True), self._sides, strict=True)
        ]
        measured = [figures(each) for each in drawn]
        return Reproduction(
            paper=PAPER,
            task=self.rows.task,
            encoders=self.data.names,
            snapshot=self.rows.snapshot,
            settings=self._settings(),
            tables=tuple(table for each in measured for table in tables(each, self.unit)),
            findings=tuple(sentence for each in measured for sentence in findings(each, self.unit)),
            missing=(*self.missing, *(said for each in drawn for said in reasons(each)), *NOT_MEASURED),
            figures={each.regime: each.to_dict() for each in measured},
            pictures=tuple(picture(each, self.unit) for each in measured),
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "draws": len(self.finished),
            "seed": self.seed,
            "rows_for_rules": self.rule_rows,
            "measured_on": f"{len(self.data.truth)} rows of {self.data.split}",
            "costs": dict(zip(self.data.names, self.data.costs, strict=True)),
            "unit_of_costs": self.unit,
            "C_of_probes": list(STRENGTHS),
            "shrinkage_of_LDA": SHRINKAGE,
            "penalties_of_ridge": list(PENALTIES),
        }


def regimes(data: Data, rows: Rows) -> tuple[list[Regime], list[str]]:
    """Return the regimes that can be measured, and sentences on backbones that the zero-shot regime leaves out."""
    blind = [name for name in data.names if rows.store.features(name).spec.text is None]
    sided = [name for name in data.names if name not in blind]
    missing = [f"zero-shot scores of {name}: it takes no text, so it has no vector of a class name" for name in blind]
    if rows.texts is None:
        return [linear_probes(data)], ["zero-shot scores: no class name was embedded"]
    if len(sided) < 2:
        missing.append("fusion of zero-shot scores: it needs two backbones that take texts")
        return [linear_probes(data)], missing
    return [zero_shot(data.only(sided), rows), linear_probes(data)], missing


def reasons(drawn: Drawn) -> list[str]:
    """Return a sentence for each control that could not learn."""
    return [f"{drawn.regime.name}, {name}: {reason}" for name, reason in drawn.reasons.items()]


class Steps:
    """Counts the steps of the experiment for a progress bar."""

    def __init__(self, total: int, on_step: Callable[[int, int, str], None]) -> None:
        self._total, self._on_step, self._count = total, on_step, 0
        on_step(0, total, "")

    def done(self, note: str) -> None:
        """Count one step more; `note` says what was done."""
        self._count += 1
        self._on_step(self._count, self._total, note)


def _check(encoders: Sequence[str], costs: Sequence[float], draws: int, rule_rows: str) -> None:
    if len(set(encoders)) < 2 or len(set(encoders)) != len(encoders):
        raise BadParameter(f"fusion needs two or more different encoders, got {', '.join(encoders) or 'none'}")
    if len(costs) != len(encoders) or min(costs) <= 0:
        raise BadParameter(f"give one positive cost for each of {len(encoders)} encoders, got {list(costs)}")
    if draws < 1:
        raise BadParameter(f"draws must be at least 1, got {draws}")
    if rule_rows not in JUDGING:
        raise BadParameter(f"rule rows must be one of {', '.join(JUDGING)}, got {rule_rows!r}")
