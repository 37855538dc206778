"""The command that repeats CLIP-Decoder's experiment: labels that training never saw, found by their texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import task_names
from services.cli.options import (
    AcceptOption,
    EncoderOption,
    JsonOption,
    SeedOption,
    SetOption,
    StoreOption,
    TaskOption,
    TrustOption,
)
from services.cli.reproductions import OutOption, reported

if TYPE_CHECKING:
    from classifiers.reproduce.clip_decoder.labels import LabelDraw

app = typer.Typer()

SHARE, DRAWS = 0.2, 5
"""Defaults of --unseen-share and --draws."""

SeenOption = Annotated[
    Path | None,
    typer.Option("--seen", metavar="FILE", help="The labels that heads learn: one in each line, or a table."),
]
UnseenOption = Annotated[
    Path | None,
    typer.Option("--unseen", metavar="FILE", help="The labels that heads never see: one in each line, or a table."),
]
NamesOption = Annotated[
    Path | None,
    typer.Option(
        "--label-names", metavar="FILE", help="Open Images' class descriptions, if the lists of labels have its ids."
    ),
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        "--unseen-share",
        metavar="SHARE",
        help="Without lists: the share of the labels that each draw leaves unseen.",
        show_default=str(SHARE),
    ),
]
DrawsOption = Annotated[
    int | None,
    typer.Option(
        "--draws", metavar="N", min=1, help="Without lists: random draws of the unseen labels.", show_default=str(DRAWS)
    ),
]
LeastOption = Annotated[
    int, typer.Option("--min-rows", metavar="N", min=1, help="Leave out labels that fewer rows have.")
]
AlphaOption = Annotated[
    list[float] | None,
    typer.Option(
        "--alpha",
        metavar="WEIGHT",
        help="Weight of the alignment to try, besides 0. Repeat it for several.",
        show_default="0.1, 0.3, 1",
    ),
]
CaptionsOption = Annotated[
    str | None,
    typer.Option(
        "--captions",
        metavar="TASK",
        help="A task whose labels are captions, to align the decoder to these too.",
        show_default="texts of the labels only",
        autocompletion=task_names,
    ),
]


@app.command("clip-decoder")
def clip_decoder(
    task: TaskOption,
    encoder: EncoderOption = "lite0",
    seen: SeenOption = None,
    unseen: UnseenOption = None,
    label_names: NamesOption = None,
    unseen_share: ShareOption = None,
    draws: DrawsOption = None,
    min_rows: LeastOption = 10,
    alpha: AlphaOption = None,
    captions: CaptionsOption = None,
    params: SetOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat CLIP-Decoder (arXiv 2406.14830): find labels that training never saw.

    Tables for unseen labels, for unseen and seen labels together, and for all labels trained: cosine, bilinear head,
    label bank, and the decoder with and without alignment to texts. --set changes a parameter of the decoders.
    """
    if (seen or unseen) and (unseen_share is not None or draws is not None):
        raise typer.BadParameter("--seen and --unseen give the unseen labels; leave --unseen-share and --draws out")
    if any(not 0 < each < float("inf") for each in alpha or ()):
        raise typer.BadParameter("--alpha must be above 0; the decoder without alignment is always measured")
    from classifiers.reproduce.clip_decoder.result import reproduction
    from classifiers.reproduce.clip_decoder.study import ALPHAS, Plan, Study, labels_of
    from classifiers.training.rows.rows import Rows
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened = options.open_store(settings)
    rows = Rows(opened, task, (encoder,), opened.snapshot(), texts=text_sides(opened, settings))
    names = labels_of(rows, min_rows)
    if seen or unseen:
        divided, told, remarks = listed(names, seen, unseen, label_names)
    else:
        divided, told, remarks = (
            drawn(names, SHARE if unseen_share is None else unseen_share, draws or DRAWS, seed),
            "at random",
            (),
        )
    plan = Plan(
        draws=tuple(divided),
        alphas=tuple(dict.fromkeys(alpha)) if alpha else ALPHAS,
        params=options.parameters(params),
        captions=captions,
        seed=seed,
        told={"unseen_labels": told, "min_rows": min_rows},
        remarks=remarks,
    )
    study = Study(rows, plan)
    with reported("clip-decoder", lambda: reproduction(study) if study.trials else None, out, as_json=as_json) as bar:
        study.run(terminal.steps(bar))


def drawn(names: Sequence[str], share: float, count: int, seed: int) -> "list[LabelDraw]":
    """Return random draws of the unseen labels. Raises typer.BadParameter if one side would be empty."""
    from classifiers.reproduce.clip_decoder.labels import draws

    try:
        return list(draws(names, float(share), range(seed, seed + count)))
    except ValueError as error:
        raise typer.BadParameter(f"--unseen-share {share}: {error}") from None


def listed(
    names: Sequence[str], seen: Path | None, unseen: Path | None, label_names: Path | None
) -> "tuple[list[LabelDraw], str, tuple[str, ...]]":
    """Return the division of the labels by lists, where it comes from, and what the lists leave out."""
    from classifiers.reproduce.clip_decoder.labels import LabelDraw
    from services.jobs.annotations.label_lists import read_split

    split = read_split(names, seen, unseen, label_names)
    told = ", ".join(f"{what} from {path.name}" for what, path in (("seen", seen), ("unseen", unseen)) if path)
    remarks = []
    if split.unknown:
        remarks.append(
            f"{len(split.unknown):,} labels of the lists, e.g. {split.unknown[0]}: fewer rows than --min-rows have "
            "them, or none."
        )
    if split.unlisted:
        remarks.append(f"{len(split.unlisted):,} labels of the task that no list has, e.g. {split.unlisted[0]}.")
    return [LabelDraw(tuple(sorted(split.seen)), tuple(sorted(split.unseen)))], told, tuple(remarks)
