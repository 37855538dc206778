"""`headwater compare`: which head to train, by what does best on validation rows."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.cli.output import AcceptOption, JsonOption, StoreOption

if TYPE_CHECKING:
    from classifiers.compare.candidates import Candidate
    from classifiers.compare.comparison import Comparison
    from classifiers.compare.paired import Pair
    from classifiers.compare.trial import Trial
    from classifiers.evaluation.figures import Evaluation

app = typer.Typer()

SHOWN = 10
"""Heads in the summary, best first; the report has them all."""


@app.command()
def compare(
    task: Annotated[str | None, typer.Option("--task", "-t", help="labels to learn")] = None,
    encoder: Annotated[list[str] | None, typer.Option("--encoder", "-e", help="repeat for several; else all")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="try these kinds only; repeatable")] = None,
    candidate: Annotated[
        list[str] | None, typer.Option("--candidate", "-c", help="e.g. 'gaussian norm=unit project=pca'; repeatable")
    ] = None,
    candidates: Annotated[Path | None, typer.Option("--candidates", help="file of candidates, one a line")] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="folder of a comparison to go on with")] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option("--pair", help="two heads to compare, by rank or label", show_default=False),
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="where the folder of this comparison is made")] = Path(
        "compare"
    ),
    seed: Annotated[int, typer.Option(help="of the bootstrap")] = 0,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try many heads on the same stored vectors, rank them by validation, and tell how to train the best."""
    if (task is None) == (resume is None):
        raise typer.BadParameter("give either --task for a new comparison or --resume for one that was begun")
    if resume and (encoder or kind or candidate or candidates):
        raise typer.BadParameter("--resume goes on with the encoders and candidates that the comparison began with")
    from classifiers.compare import page  # noqa: F401 - so that a missing matplotlib is told before the work
    from classifiers.compare import run as job
    from classifiers.compare.candidates import head_name
    from classifiers.compare.record import load, to_record
    from services.jobs.texts import text_sides
    from store import Store

    settings = output.settings(store=store, accept_noncommercial=accept_noncommercial)
    opened = Store.open(settings.store, must_exist=True)
    texts = text_sides(opened, settings)
    if resume is not None:
        comparison = load(opened, resume, texts)
    else:
        names = list(dict.fromkeys(encoder or sorted(table.name for table in opened.encoders())))
        comparison = job.start(
            opened,
            folder / f"{head_name(str(task))}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}",
            task=str(task),
            encoders=names,
            candidates=_candidates(names, kind or (), candidate or (), candidates),
            seed=seed,
            options=["--store", store] if store else [],
            texts=texts,
        )
    if comparison.state != "done" or pair is None:
        _run(comparison)
    if pair:
        _show_pair(comparison, pair, as_json)
    elif as_json:
        print(json.dumps(to_record(comparison)))
    else:
        _show(comparison)
    if comparison.failed:
        raise typer.Exit(output.PARTIAL)


def _candidates(
    encoders: Sequence[str], kinds: Sequence[str], texts: Sequence[str], file: Path | None
) -> "list[Candidate]":
    """What was asked for, else the defaults; with the controls."""
    from classifiers.compare.candidates import defaults, parse_lines, with_controls

    lines = [*texts, *(file.read_text(encoding="utf-8").splitlines() if file else ())]
    asked = parse_lines(lines, encoders)
    return with_controls(asked if asked and not kinds else [*asked, *defaults(encoders, kinds)])


def _run(comparison: "Comparison") -> None:
    """Runs it with a progress bar; Ctrl-C leaves a report of what is finished."""
    from classifiers.compare import page
    from classifiers.compare import run as job

    if (needed := job.memory(comparison.rows)) > job.LARGE:
        output.err.print(f"the rows take {needed / 1e9:.1f} GB of memory, and some fits as much again")
    try:
        with output.stopping_on_sigterm(), output.progress_bar("compare") as bar:
            job.run(comparison, bar)
    except KeyboardInterrupt:
        page.write(comparison)
        output.err.print(
            f"stopped; {len(comparison.trials)} of {len(comparison.candidates)} are in {comparison.folder}\n"
            f"go on with: headwater compare {shlex.join(['--resume', str(comparison.folder), *comparison.options])}"
        )
        raise typer.Exit(130) from None
    page.write(comparison)


def _show(comparison: "Comparison") -> None:
    """One screen: the ranking, test for the winner and its controls, and what to do next."""
    best, smaller = comparison.winner(), comparison.smallest_alike()
    ranked = comparison.ranking()
    controls = comparison.controls()
    shown = [(rank, trial) for rank, trial in enumerate(ranked, 1) if rank <= SHOWN or trial in controls]
    columns = ("rank", "head", "encoders", "accuracy (95 % interval)", "NLL", "ECE", "behind by", "parameters", "s")
    output.table(
        columns,
        [(rank, *_row(comparison, trial)) for rank, trial in shown],
        title=f"validation ({comparison.validated_on})",
    )
    if len(shown) < len(ranked):
        output.out.print(f"… and {len(ranked) - len(shown)} more in the report")
    if comparison.test:
        output.table(
            ("head", "accuracy (95 % interval)", "NLL", "ECE", "behind by"),
            [
                (comparison.trials[label].candidate.title, *_figures(found), _behind(comparison.test_pairs.get(label)))
                for label, found in comparison.test.items()
            ],
            title=f"test, looked at once, {next(iter(comparison.test.values())).rows:,} rows",
        )
    for label, reason in comparison.failed.items():
        output.out.print(f"not ranked: {label}: {reason}")
    for note in comparison.notes:
        output.out.print(f"note: {note}")
    if best:
        output.out.print(f"train it:  {comparison.command(best)}")
    if smaller:
        output.out.print(f"no worse as far as these rows tell, {smaller.parameters:,} parameters:")
        output.out.print(f"           {comparison.command(smaller)}")
    output.out.print(f"report:    {comparison.folder / 'report.html'}")


def _row(comparison: "Comparison", trial: "Trial") -> tuple[str, ...]:
    behind = _behind(comparison.pairs.get(trial.candidate.label))
    size = (f"{trial.parameters:,}", f"{trial.seconds:.1f}")
    return (trial.candidate.title, trial.candidate.inputs, *_figures(trial.evaluation), behind, *size)


def _figures(found: "Evaluation") -> tuple[str, str, str]:
    low, high = found.accuracy_interval
    return f"{found.accuracy:.3f} ({low:.3f} to {high:.3f})", f"{found.nll:.3f}", f"{found.ece:.3f}"


def _behind(pair: "Pair | None") -> str:
    """Points of accuracy behind the winner, with their 95 % interval."""
    if pair is None:
        return ""
    found = pair.accuracy
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _show_pair(comparison: "Comparison", asked: tuple[str, str], as_json: bool) -> None:
    """A paired bootstrap between any two, on the validation rows."""
    a, b, found = comparison.pair(*asked)
    named = {"A": a.candidate.label, "B": b.candidate.label, "rows": len(a.outcomes)}
    if as_json:
        print(json.dumps(named | asdict(found)))
        return
    nll = found.nll
    said = {
        "accuracy A - B, points": _behind(found),
        "draws in which A is more accurate": f"{found.accuracy.better:.1%}",
        "NLL A - B": f"{nll.mean:.4f} ({nll.low:.4f} to {nll.high:.4f})",
        "draws in which A has less NLL": f"{nll.better:.1%}",
    }
    output.show(named | said, as_json=False)
