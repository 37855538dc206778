"""Commands that call the running classification service: classify, search."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, terminal
from services.cli.completion import encoder_names, head_names, split_names, task_names
from services.cli.options import JsonOption, ModalityOption

if TYPE_CHECKING:
    from services.client import ClassifyOptions, Client
    from services.web.schemas import ClassifiedItem, HeadAnswer

app = typer.Typer()

FILES_A_REQUEST = 32
"""Files in one request of `classify`. Any number of files works, and no request comes near the limits."""

LABELS_SHOWN = 4
"""Labels of a prediction set in the table of `classify`."""


class Sets(StrEnum):
    """The ways to build a prediction set."""

    lac = "lac"
    aps = "aps"


UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The classification service.",
        show_default="this machine: HEADWATER_HOST and HEADWATER_CLASSIFICATION_PORT, or 127.0.0.1 and 8001",
    ),
]


ClassifyFiles = Annotated[
    list[Path],
    typer.Argument(help="Images, sounds, videos or measurements.", exists=True, dir_okay=False, show_default=False),
]
ClassifyHead = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        metavar="NAME",
        help="The head: NAME, NAME@ALIAS or NAME@VERSION. Repeat it for several. Needed if there is more than one.",
        autocompletion=head_names,
    ),
]
ClassifyCoverage = Annotated[
    float,
    typer.Option(
        "--coverage",
        metavar="C",
        help="The probability, between 0 and 1, with which the prediction set contains the right label.",
    ),
]
ClassifyMinProbability = Annotated[
    float | None,
    typer.Option("--min-probability", metavar="P", help="Abstain if the probability is below P, 0 to 1."),
]
ClassifyMaxOutlier = Annotated[
    float | None,
    typer.Option(
        "--max-outlier",
        metavar="P",
        help="Abstain if the outlier percentile is above P, 0 to 100. It is the percentage of calibration rows "
        "that look more ordinary than this file.",
    ),
]
ClassifyLabels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAMES",
        help="Labels to choose from instead of the head's own, separated by commas. Only for heads that know "
        "their labels by name.",
    ),
]


@app.command()
def classify(
    files: ClassifyFiles,
    head: ClassifyHead = None,
    top_k: Annotated[int, typer.Option("--top-k", metavar="N", min=1, help="How many labels are ranked.")] = 5,
    coverage: ClassifyCoverage = 0.9,
    sets: Annotated[Sets, typer.Option("--sets", help="How the prediction set is built.")] = Sets.lac,
    min_probability: ClassifyMinProbability = None,
    max_outlier: ClassifyMaxOutlier = None,
    labels: ClassifyLabels = None,
    modality: ModalityOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify files by the running classification service.

    If a head abstains, its label is in brackets. Heads for images and heads for sounds can be used together: each
    answers for the files that its encoder takes.
    """
    from services.web.schemas import ClassifyResponse

    items: list[ClassifiedItem] = []
    asked: ClassifyOptions = {
        "top_k": top_k,
        "coverage": coverage,
        "sets": sets.value,
        "min_probability": min_probability,
        "max_outlier": max_outlier,
        "labels": labels.split(",") if labels else None,
        "modality": options.modality(modality),
    }
    with _client(url) as client:
        for start in range(0, len(files), FILES_A_REQUEST):
            some = files[start : start + FILES_A_REQUEST]
            items += client.classify(some, heads=head or (), **asked).items
    if as_json:
        print(ClassifyResponse(items=items).model_dump_json(exclude_none=True))
    else:
        _show(items)
    raise typer.Exit(terminal.PARTIAL if any(item.error for item in items) else 0)


def _show(items: "list[ClassifiedItem]") -> None:
    """Print the answers as a table, and problems of single items on standard error."""
    columns = ("file", "head", "label", "probability", "prediction set", "outlier percentile", "abstained for")
    rows = [(item.name, *_cells(found)) for item in items for found in item.answers]
    if rows:
        terminal.table(columns, rows)
    for item in items:
        for found in item.answers:
            if found.missing_encoders:
                terminal.err.print(f"{item.name}: {_without(found)}")
        if item.error:
            terminal.err.print(f"{item.name}: {item.error.code}: {item.error.message}")


def _cells(found: "HeadAnswer") -> tuple[str, ...]:
    percentile, members = found.outlier_percentile, found.prediction_set
    label, probability = found.label, f"{found.probability:.3f}"
    if found.labels is not None:
        label = ", ".join(each.label for each in found.labels) or f"none (most likely: {label})"
        probability = ", ".join(f"{each.probability:.3f}" for each in found.labels) or probability
    return (
        found.head,
        f"({label})" if found.abstained else label,
        probability,
        ", ".join(_first_few(members.labels)) if members else "",
        "" if percentile is None else f"{percentile:.0f}",
        ", ".join(found.abstained_for or ()),
    )


def _without(found: "HeadAnswer") -> str:
    """Return the sentence that a fused head answered without some encoders, and what that costs."""
    cost = "" if found.accuracy_lost is None else f"; in training, that cost {found.accuracy_lost:.1%} accuracy"
    return f"{found.head} answered without {', '.join(found.missing_encoders or ())}{cost}"


def _first_few(labels: list[str]) -> list[str]:
    more = len(labels) - LABELS_SHOWN
    return [*labels[:LABELS_SHOWN], f"and {more} more"] if more > 0 else labels


@app.command()
def search(
    image: Annotated[
        Path | None, typer.Argument(help="An image file.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    text: Annotated[str | None, typer.Option("--text", metavar="WORDS", help="What to look for, in words.")] = None,
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="The id of a stored asset.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            metavar="NAME",
            help="The encoder whose stored vectors are searched.",
            show_default="the best stored one for the query",
            autocompletion=encoder_names,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", "-t", metavar="NAME", help="Only assets that this task labels.", autocompletion=task_names
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", "-l", metavar="NAME", help="With --task: only assets with this label.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="NAME", help="With --task: only assets in this split.", autocompletion=split_names
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", metavar="N", min=1, max=1000, help="How many assets are printed.")] = 10,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the stored assets nearest to an image, to words, or to a stored asset.

    The running classification service answers. Give exactly one of IMAGE, --text and --id. Words find little with
    lite0, lite1 and lite2, and the answer says how little; other encoders that take texts are chosen first.
    """
    if sum(each is not None for each in (image, text, id_)) != 1:
        raise typer.BadParameter("give exactly one of IMAGE, --text and --id")
    if task is None and (label is not None or split is not None):
        raise typer.BadParameter("--label and --split need --task")
    with _client(url) as client:
        found = client.search(image, encoder=encoder, k=k, text=text, id=id_, task=task, label=label, split=split)
    if as_json:
        print(found.model_dump_json(exclude_none=True))
    else:
        rows = [(f"{h.score:z.3f}", h.id[:12], h.uri or "") for h in found.hits]
        terminal.table(("cosine", "asset", "uri"), rows, f"nearest by {found.encoder}")
        terminal.notes([found.note] if found.note else [])


def _client(url: str | None) -> "Client":
    from services.client import Client
    from services.processes import url_of
    from services.web.access.keys import secret_of

    settings = options.settings()
    here = url_of(settings.host, settings.classification_port)
    return Client(url or here, timeout=settings.embedding_timeout, key=secret_of(settings.key))
