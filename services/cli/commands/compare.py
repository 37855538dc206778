"""The command that finds out which head to train: compare."""

import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import comparisons, options, terminal
from services.cli.completion import encoder_names, kind_names, task_names
from services.cli.options import AcceptOption, JsonOption, NamesOnlyOption, SeedOption, StoreOption, TrustOption

if TYPE_CHECKING:
    from classifiers.compare.candidates import Candidate
    from classifiers.compare.comparison import Comparison
    from classifiers.training.rows.rows import Texts
    from services.settings import Settings
    from store import Store

app = typer.Typer()


CompareTask = Annotated[
    str | None,
    typer.Option(
        "--task",
        "-t",
        metavar="NAME",
        help="The task whose labels the heads learn. Needed, except with --resume.",
        autocompletion=task_names,
    ),
]
CompareEncoder = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        "-e",
        metavar="NAME",
        help="An encoder whose stored vectors are used. Repeat it for several.",
        show_default="all encoders with vectors of the training rows",
        autocompletion=encoder_names,
    ),
]
CompareKind = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        "-k",
        metavar="KIND",
        help="Try the default candidates of this kind only. Repeat it for several.",
        show_default="all kinds",
        autocompletion=kind_names,
    ),
]
CompareCandidate = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate",
        "-c",
        metavar="TEXT",
        help="Try this head, for example 'gaussian norm=unit project=pca'. Repeat it for several.",
    ),
]
CompareCandidates = Annotated[
    Path | None, typer.Option("--candidates", metavar="FILE", help="Try the heads in this file, one per line.")
]
CompareResume = Annotated[
    Path | None,
    typer.Option(
        "--resume", metavar="FOLDER", help="Continue the comparison in this folder, for example after Ctrl-C."
    ),
]
ComparePair = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--pair",
        metavar="A B",
        help="Compare two heads of the comparison, each given by its rank or its label.",
        show_default=False,
    ),
]
CompareFolder = Annotated[
    Path, typer.Option("--folder", metavar="FOLDER", help="Where the folder of this comparison is made.")
]


@app.command()
def compare(
    task: CompareTask = None,
    encoder: CompareEncoder = None,
    kind: CompareKind = None,
    candidate: CompareCandidate = None,
    candidates: CompareCandidates = None,
    resume: CompareResume = None,
    pair: ComparePair = None,
    folder: CompareFolder = Path("compare"),
    seed: SeedOption = 0,
    names_only: NamesOnlyOption = False,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train many heads on the same stored vectors and rank them on the validation rows.

    Heads that give each row one class are ranked by accuracy, those that give any number of labels by mAP (mean
    average precision). Prints the command that trains the best one, and writes a report. Nothing is published.
    """
    if (task is None) == (resume is None):
        raise typer.BadParameter("give either --task for a new comparison or --resume to continue one")
    if resume and (encoder or kind or candidate or candidates):
        raise typer.BadParameter("--resume continues with the encoders and candidates that the comparison began with")
    from classifiers.compare import page  # noqa: F401 - a missing matplotlib is reported before the work
    from classifiers.compare.record import load, to_record
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened = options.open_store(settings)
    texts = text_sides(opened, settings)
    if resume is not None:
        comparison = load(opened, resume, texts, comparisons.train_command)
    else:
        names = list(dict.fromkeys(encoder)) if encoder else _encoders(opened, str(task))
        sided = [name for name in names if opened.features(name).spec.text is not None]
        tried = _candidates(opened, str(task), names, kind or (), candidate or (), candidates, sided)
        comparison = _start(opened, folder, str(task), names, tried, seed, ["--store", store] if store else [], texts)
    if comparison.state != "done" or pair is None:
        _run(comparison, settings, names_only)
    if pair:
        comparisons.show_pair(comparison, pair, as_json)
    elif as_json:
        print(json.dumps(to_record(comparison)))
    else:
        comparisons.show(comparison)
    if comparison.failed:
        raise typer.Exit(terminal.PARTIAL)


def _encoders(store: "Store", task: str) -> list[str]:
    """Return the encoders that have vectors of the task's training rows. Print which others are left out, and why."""
    from classifiers.training.rows.present import encoders_of_training_rows

    used, others = encoders_of_training_rows(store, task)
    if others:
        terminal.err.print(f"left out: {', '.join(others)}: no vectors of the training rows of task {task!r}")
    return list(used)


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

    return job.start(
        store,
        folder / comparisons.folder_name(task),
        task=task,
        encoders=encoders,
        candidates=candidates,
        seed=seed,
        options=again,
        train_command=comparisons.train_command,
        texts=texts,
    )


def _candidates(
    store: "Store",
    task: str,
    encoders: Sequence[str],
    kinds: Sequence[str],
    texts: Sequence[str],
    file: Path | None,
    sided: Sequence[str],
) -> "list[Candidate]":
    """Return the candidates that the options name, otherwise the default ones, and the controls.

    Args:
        sided: the encoders that also embed texts.
    """
    from classifiers.compare.candidates import defaults, parse_lines, with_controls
    from classifiers.training.kinds import LABEL_KINDS
    from classifiers.training.rows.rows import Rows

    lines = [*texts, *(file.read_text(encoding="utf-8").splitlines() if file else ())]
    asked = parse_lines(lines, encoders)
    named = {*kinds, *(each.kind for each in asked)}
    several = named <= set(LABEL_KINDS) if named else not Rows(store, task, (), store.snapshot()).one_each
    tried = asked if asked and not kinds else [*asked, *defaults(encoders, kinds, sided, several=several)]
    return with_controls(tried, several=several)


def _run(comparison: "Comparison", settings: "Settings", names_only: bool) -> None:
    """Run the comparison under a progress bar. Ctrl-C leaves a report of the finished candidates."""
    from classifiers.compare import page
    from classifiers.compare import run as job
    from services.web.access.paths import cutting

    shortened = cutting(settings) if names_only else str

    def write() -> None:
        page.write(comparison, partial(comparisons.shown_assets, comparison.rows.store, settings.limits), shortened)

    if (needed := job.memory(comparison.rows)) > job.LARGE:
        terminal.err.print(
            f"The rows take {needed / 1e9:.1f} GB of memory, and some heads take as much again to train."
        )
    try:
        with terminal.stopping_on_sigterm(), terminal.progress_bar("compare") as bar:
            job.run(comparison, terminal.steps(bar))
    except KeyboardInterrupt:
        write()
        again = shlex.join(["--resume", str(comparison.folder), *comparison.options])
        terminal.err.print(
            f"{len(comparison.trials)} of {len(comparison.candidates)} heads are finished, in {comparison.folder}\n"
            f"continue with: headwater compare {again}"
        )
        raise
    write()
