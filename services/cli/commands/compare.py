"""The command that finds out which head to train: compare."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import encoder_names, kind_names, task_names
from services.cli.options import AcceptOption, JsonOption, SeedOption, StoreOption

if TYPE_CHECKING:
    from classifiers.compare.candidates import Candidate
    from classifiers.compare.comparison import Comparison
    from classifiers.compare.paired import Pair
    from classifiers.compare.trial import Trial
    from classifiers.evaluation.figures import Evaluation
    from classifiers.training.rows import Texts
    from store import Store

app = typer.Typer()

SHOWN = 10
"""Heads in the summary, best first. The report has all of them."""


@app.command()
def compare(
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            "-t",
            metavar="NAME",
            help="The task whose labels the heads learn. Needed, except with --resume.",
            autocompletion=task_names,
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            "-e",
            metavar="NAME",
            help="An encoder whose stored vectors are used. Repeat it for several.",
            show_default="all encoders with stored vectors",
            autocompletion=encoder_names,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            metavar="KIND",
            help="Try the default candidates of this kind only. Repeat it for several.",
            show_default="all kinds",
            autocompletion=kind_names,
        ),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            "-c",
            metavar="TEXT",
            help="Try this head, for example 'gaussian norm=unit project=pca'. Repeat it for several.",
        ),
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option("--candidates", metavar="FILE", help="Try the heads of this file, one a line.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", metavar="FOLDER", help="Continue the comparison in this folder, for example after Ctrl-C."
        ),
    ] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--pair",
            metavar="A B",
            help="Compare two heads of the comparison, each given by its rank or its label.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where the folder of this comparison is made.")
    ] = Path("compare"),
    seed: SeedOption = 0,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train many heads on the same stored vectors and rank them on the validation rows.

    Prints the command that trains the best one, and writes a report. Nothing is published.
    """
    if (task is None) == (resume is None):
        raise typer.BadParameter("give either --task for a new comparison or --resume to continue one")
    if resume and (encoder or kind or candidate or candidates):
        raise typer.BadParameter("--resume continues with the encoders and candidates that the comparison began with")
    from classifiers.compare import page  # noqa: F401 - a missing matplotlib is reported before the work
    from classifiers.compare.record import load, to_record
    from services.jobs.texts import text_sides

    settings = options.settings(store=store, accept_noncommercial=accept_noncommercial)
    opened = options.open_store(settings)
    texts = text_sides(opened, settings)
    if resume is not None:
        comparison = load(opened, resume, texts)
    else:
        names = list(dict.fromkeys(encoder or sorted(table.name for table in opened.encoders())))
        tried = _candidates(names, kind or (), candidate or (), candidates)
        comparison = _start(opened, folder, str(task), names, tried, seed, ["--store", store] if store else [], texts)
    if comparison.state != "done" or pair is None:
        _run(comparison)
    if pair:
        _show_pair(comparison, pair, as_json)
    elif as_json:
        print(json.dumps(to_record(comparison)))
    else:
        _show(comparison)
    if comparison.failed:
        raise typer.Exit(terminal.PARTIAL)


def _start(
    store: "Store",
    folder: Path,
    task: str,
    encoders: Sequence[str],
    candidates: "Sequence[Candidate]",
    seed: int,
    again: Sequence[str],
    texts: "Texts",
) -> "Comparison":
    """Start a comparison in a new folder, named after the task and the time."""
    from classifiers.compare import run as job
    from classifiers.compare.candidates import head_name

    return job.start(
        store,
        folder / f"{head_name(task)}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}",
        task=task,
        encoders=encoders,
        candidates=candidates,
        seed=seed,
        options=again,
        texts=texts,
    )


def _candidates(
    encoders: Sequence[str], kinds: Sequence[str], texts: Sequence[str], file: Path | None
) -> "list[Candidate]":
    """Return the candidates that the options name, or else the default ones, and the controls."""
    from classifiers.compare.candidates import defaults, parse_lines, with_controls

    lines = [*texts, *(file.read_text(encoding="utf-8").splitlines() if file else ())]
    asked = parse_lines(lines, encoders)
    return with_controls(asked if asked and not kinds else [*asked, *defaults(encoders, kinds)])


def _run(comparison: "Comparison") -> None:
    """Run the comparison under a progress bar. Ctrl-C leaves a report of the finished candidates."""
    from classifiers.compare import page
    from classifiers.compare import run as job

    if (needed := job.memory(comparison.rows)) > job.LARGE:
        terminal.err.print(
            f"The rows take {needed / 1e9:.1f} GB of memory, and some heads take as much again to train."
        )
    try:
        with terminal.stopping_on_sigterm(), terminal.progress_bar("compare") as bar:
            job.run(comparison, terminal.steps(bar))
    except KeyboardInterrupt:
        page.write(comparison)
        again = shlex.join(["--resume", str(comparison.folder), *comparison.options])
        terminal.err.print(
            f"{len(comparison.trials)} of {len(comparison.candidates)} heads are finished, in {comparison.folder}\n"
            f"continue with: headwater compare {again}"
        )
        raise
    page.write(comparison)


def _show(comparison: "Comparison") -> None:
    """Print the ranking, the test figures of the winner and its controls, and the commands to go on with."""
    best, smaller = comparison.winner(), comparison.smallest_alike()
    ranked = comparison.ranking()
    controls = comparison.controls()
    shown = [(rank, trial) for rank, trial in enumerate(ranked, 1) if rank <= SHOWN or trial in controls]
    columns = (
        "rank",
        "head",
        "encoders",
        "accuracy (95 % interval)",
        "NLL",
        "ECE",
        "behind by",
        "parameters",
        "seconds",
    )
    terminal.table(
        columns,
        [(rank, *_row(comparison, trial)) for rank, trial in shown],
        f"Validation ({comparison.validated_on}):",
    )
    if len(shown) < len(ranked):
        print(f"… and {len(ranked) - len(shown)} more in the report")
    if comparison.test:
        terminal.table(
            ("head", "accuracy (95 % interval)", "NLL", "ECE", "behind by"),
            [
                (comparison.trials[label].candidate.title, *_figures(found), _behind(comparison.test_pairs.get(label)))
                for label, found in comparison.test.items()
            ],
            f"Test, read once, {next(iter(comparison.test.values())).rows:,} rows:",
        )
    for label, reason in comparison.failed.items():
        print(f"not ranked: {label}: {reason}")
    for note in comparison.notes:
        print(f"note: {note}")
    if best:
        print(f"train it:  {comparison.command(best)}")
    if smaller:
        print(f"These rows show no difference to a smaller head of {smaller.parameters:,} parameters:")
        print(f"           {comparison.command(smaller)}")
    print(f"report:    {comparison.folder / 'report.html'}")


def _row(comparison: "Comparison", trial: "Trial") -> tuple[str, ...]:
    behind = _behind(comparison.pairs.get(trial.candidate.label))
    size = (f"{trial.parameters:,}", f"{trial.seconds:.1f}")
    return (trial.candidate.title, trial.candidate.inputs, *_figures(trial.evaluation), behind, *size)


def _figures(found: "Evaluation") -> tuple[str, str, str]:
    low, high = found.accuracy_interval
    return f"{found.accuracy:.3f} ({low:.3f} to {high:.3f})", f"{found.nll:.3f}", f"{found.ece:.3f}"


def _behind(pair: "Pair | None") -> str:
    """Return the points of accuracy behind the winner, with their 95 % interval."""
    if pair is None:
        return ""
    found = pair.accuracy
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _show_pair(comparison: "Comparison", asked: tuple[str, str], as_json: bool) -> None:
    """Print a paired bootstrap between any two heads, on the validation rows."""
    a, b, found = comparison.pair(*asked)
    named = {"A": a.candidate.label, "B": b.candidate.label, "rows": len(a.outcomes)}
    if as_json:
        print(json.dumps(named | asdict(found)))
        return
    nll = found.nll
    result = {
        "accuracy A - B, points": _behind(found),
        "resamplings in which A is more accurate": f"{found.accuracy.better:.1%}",
        "NLL A - B": f"{nll.mean:.4f} ({nll.low:.4f} to {nll.high:.4f})",
        "resamplings in which A has less NLL": f"{nll.better:.1%}",
    }
    terminal.show(named | result, as_json=False)
    print("An interval is the middle 95 % of the resamplings. If it contains 0, the difference may be chance.")
