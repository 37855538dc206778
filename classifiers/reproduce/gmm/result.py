"""The result of a study: tables for this store, the chart, what they say, and what could not be measured."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from classifiers.reproduce.gmm.cells import CHOSEN, arms
from classifiers.reproduce.gmm.entrants import DGMMC, ENTRANTS
from classifiers.reproduce.gmm.findings import Arms, answers, between_encoders, sentences
from classifiers.reproduce.gmm.grid import Grid, chart
from classifiers.reproduce.gmm.measured import ACCURACY, NLL, Measured, together
from classifiers.reproduce.gmm.published import PAPER
from classifiers.reproduce.gmm.study import Run, Study
from classifiers.reproduce.paper import Reproduction, Table
from classifiers.training.kinds import make_estimator

NOTES = (
    "For each head, the numbers of dimensions and components with the least NLL on validation rows. Only such choices "
    "were measured on test rows: this one, and those among one or several components, and at two shares P, for the "
    "questions below. ± is the standard deviation over the runs.",
    "In brackets: 95 % bootstrap interval over test rows, each averaged over the runs that measured it.",
    "NLL and ECE are those after the temperature, which is fitted on validation rows; NLL before is without it.",
)


def reproduction(study: Study) -> Reproduction:
    """Return what a study has measured so far; at least one run is finished."""
    plan, encoders = study.plan, study.source.encoders
    runs = {encoder: [run for run in study.runs if run.encoder == encoder] for encoder in encoders}
    measured = {encoder: measured_arms(study, each) for encoder, each in runs.items()}
    grids = {encoder: Grid(plan, tuple(each)) for encoder, each in runs.items()}
    return Reproduction(
        paper=PAPER,
        task=study.source.task,
        encoders=encoders,
        snapshot=study.source.snapshot,
        settings={
            "runs": [run.division.name for run in runs[encoders[0]]],
            "rows": len(study.rows.codes),
            "classes": len(study.source.all_classes()),
            "shares": [each.share for each in plan.sizes if each.share is not None],
            "dims": [each.count for each in plan.sizes if each.count is not None],
            "components": list(plan.components),
            "heads": [each.key for each in plan.entrants],
            "norm": plan.norm,
            "whiten": plan.whiten,
            "mixtures": dict(plan.params),
            "most_parameters": plan.most_parameters,
            "seed": plan.seed,
        },
        tables=tuple(table for encoder in encoders for table in tables(encoder, measured[encoder], grids[encoder])),
        findings=tuple(sentences(measured)),
        missing=tuple(missing(study)),
        figures={
            "chosen": {encoder: by_head(each) for encoder, each in measured.items()},
            "differences": {encoder: [one.to_dict() for one in answers(each)] for encoder, each in measured.items()},
            "between_encoders": [each.to_dict() for each in between_encoders(measured)],
            "validation": {encoder: list(map(of_run, each)) for encoder, each in runs.items()},
        },
        pictures=tuple(chart(encoder, number, grid) for number, (encoder, grid) in enumerate(grids.items(), 1)),
    )


def measured_arms(study: Study, runs: Sequence[Run]) -> Arms:
    """Return the figures of each head and arm over the runs of one encoder."""
    found = {}
    for arm in arms(study.plan):
        side = (arm.entrant, arm.name)
        tested = [run.tested[side] for run in runs if side in run.tested]
        if measured := together(tested, len(study.rows.codes), study.plan.seed):
            found[side] = measured
    return found


def by_head(measured: Arms) -> dict[str, Any]:
    """Return the figures of each arm, by head, for programs."""
    found: dict[str, dict[str, Any]] = {}
    for (head, name), each in measured.items():
        found.setdefault(head, {})[name] = each.to_dict()
    return found


def of_run(run: Run) -> dict[str, Any]:
    """Return the cells of a run with their validation figures, for programs."""
    cells = [
        {
            "head": cell.entrant.key,
            "components": cell.components,
            "share": cell.size.share,
            "dims": cell.dims,
            "accuracy": cell.accuracy,
            "nll": cell.loss,
            "temperature": cell.trial.temperature,
            "parameters": cell.parameters,
            "held": cell.trial.parameters,
            "seconds": round(cell.trial.seconds, 3),
        }
        for cell in run.cells.values()
    ]
    return {"run": run.division.name, "cells": cells}


def tables(encoder: str, measured: Arms, grid: Grid) -> Iterator[Table]:
    """Yield the tables of one encoder: heads on test rows, the grid on validation rows, parameter counts."""
    heads = {head: each for (head, name), each in measured.items() if name == CHOSEN}
    best = max(range(len(heads)), key=lambda row: list(heads.values())[row].mean("accuracy"), default=None)
    yield Table(
        f"{encoder}: each head's choice on test rows",
        (
            "head",
            "P",
            "=dims D",
            "=G",
            "=accuracy",
            "=NLL",
            "=NLL before",
            "=ECE",
        ),
        tuple(line(head, each) for head, each in heads.items()),
        NOTES,
        best,
    )
    yield grid.table(encoder)
    yield counts(encoder, heads)


def line(head: str, found: Measured) -> tuple[str, ...]:
    """Return the row of a head's choice."""
    cells = [each.cell for each in found.tested]
    spread, on_rows = found.deviation("accuracy"), found.interval(ACCURACY)
    accuracy = f"{on_rows.mean:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
    loss = found.interval(NLL)
    return (
        ENTRANTS[head].name,
        span([each.size.label for each in cells]),
        span([f"{each.dims:,}" for each in cells]),
        span([str(each.components) for each in cells]),
        f"{accuracy} ({on_rows.low:.3f} to {on_rows.high:.3f})",
        f"{loss.mean:.3f} ({loss.low:.3f} to {loss.high:.3f})",
        f"{found.mean('nll_uncalibrated'):.3f}",
        f"{found.mean('ece'):.3f}",
    )


def span(values: Sequence[str]) -> str:
    """Return the distinct values of the runs, in order."""
    return "; ".join(dict.fromkeys(values))


def counts(encoder: str, heads: dict[str, Measured]) -> Table:
    """Return the parameters of the heads that the first run chose, by formula and as the served heads hold them."""
    rows = []
    for head, found in heads.items():
        cell, entrant = found.tested[0].cell, ENTRANTS[head]
        classes = len(found.tested[0].figures.classes)
        trained = "–" if entrant.trained is None else f"{entrant.trained(classes, cell.components, cell.dims):,}"
        numbers = (f"{cell.dims:,}", str(cell.components), f"{cell.parameters:,}", trained)
        rows.append((entrant.name, entrant.formula, *numbers, f"{cell.trial.parameters:,}"))
    titles = ("head", "formula", "=D", "=G", "=parameters", "=in the paper's training", "=numbers in the served head")
    return Table(
        f"{encoder}: parameters of the choice of the first run, on principal components",
        titles,
        tuple(rows),
        (
            "A served head holds constants instead of priors and mixture weights, and D numbers more where rows are "
            "centred for squares. Where the penalty keeps the start, all components share one variance.",
            "SDGM-F is held as whole matrices. The PCA, d × D numbers, is not counted: linear heads absorb it.",
        ),
    )


def unfinished(study: Study) -> str:
    """Return how many of the tested mixtures stopped at the largest number of steps; empty for none."""
    tested = {id(each): each for run in study.runs for each in run.tested.values() if each.cell.entrant.grows}
    steps = [each.cell.trial.settings["steps_used"] for each in tested.values()]
    most = make_estimator("mixture", study.plan.params).max_iter
    count = sum(each >= most for each in steps)
    return f"{count} of {len(steps)}" if count else ""


def missing(study: Study) -> Iterator[str]:
    """Yield what could not be measured, and why."""
    if study.finished < len(study.divisions):
        yield f"The run was stopped after {study.finished} of {len(study.divisions)} runs."
    for reason, count in Counter(reason for run in study.runs for reason in run.left_out).items():
        yield f"{reason}: left out of the grid {count} times."
    if dropped := study.rows.matrix.dropped:
        yield f"{dropped:,} rows of the task have no vector of {' or of '.join(study.source.encoders)}."
    if unlearned := sum(study.rows.unlearned(division) for division in study.divisions):
        yield f"{unlearned:,} test rows have a class without a training row in their run; they were not measured."
    if short := unfinished(study):
        yield (
            f"Training to the end: {short} of the mixtures on test rows stopped at the largest number of steps, so "
            "they may be better than shown; the parameter max_iter raises it."
        )
    if study.plan.whole is None or study.plan.reduced is None:
        yield "Accuracy after PCA against all dimensions: it needs the share 1 and a smaller share."
    if len(study.source.encoders) == 1:
        yield "Several encoders, as CLIP and ImageBind in the paper: only one was named."
    if DGMMC not in study.plan.entrants:
        yield "DGMMC-S, the paper's own head, was not asked for."
