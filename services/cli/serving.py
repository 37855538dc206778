"""Commands that serve and ask: serve, up, classify, search."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.cli.output import (
    AcceptOption,
    BackendOption,
    EncoderOption,
    HeadsOption,
    JsonOption,
    ModalityOption,
    StoreOption,
)

if TYPE_CHECKING:
    from services.client import ClassifyOptions, Client
    from services.web.schemas import ClassifiedItem, HeadAnswer

app = typer.Typer()

FILES_A_REQUEST = 32
"""`classify` sends so many at a time: any number of files works, and no request comes near the limits."""

LABELS_SHOWN = 4
"""Labels of a prediction set in the table of `classify`."""


class Sets(StrEnum):
    lac = "lac"
    aps = "aps"


class Service(StrEnum):
    embedding = "embedding"
    classification = "classification"


HostOption = Annotated[str | None, typer.Option("--host", help="address to listen on")]
LogOption = Annotated[str | None, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR")]
UrlOption = Annotated[str | None, typer.Option("--url", help="of the classification service")]
EncodersOption = Annotated[str | None, typer.Option("--encoders", help="names, separated by commas")]


@app.command()
def serve(
    service: Service,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    host: HostOption = None,
    encoders: EncodersOption = None,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    embedding_url: Annotated[str | None, typer.Option(help="classification: the embedding service")] = None,
    heads: HeadsOption = None,
    store: StoreOption = None,
    log_level: LogOption = None,
) -> None:
    """Run one service in the foreground; logs are JSON lines on standard error."""
    import uvicorn

    from services.web import logs

    settings = output.settings(
        host=host,
        encoders=encoders,
        backend=backend,
        accept_noncommercial=accept_noncommercial,
        embedding_url=embedding_url,
        heads=heads,
        store=store,
        log_level=log_level,
        **({} if port is None else {f"{service}_port": port}),
    )
    logs.configure(settings.log_level)
    if service is Service.embedding:
        from services.embedding import create_app
    else:
        from services.classification import create_app
    listen = settings.embedding_port if service is Service.embedding else settings.classification_port
    uvicorn.run(create_app(settings), host=settings.host, port=listen, log_config=None, access_log=False)


@app.command()
def up(
    encoders: EncodersOption = None,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    host: HostOption = None,
    embedding_port: Annotated[int | None, typer.Option(help="port of the embedding service")] = None,
    classification_port: Annotated[int | None, typer.Option(help="port of the classification service")] = None,
    heads: HeadsOption = None,
    store: StoreOption = None,
    log_level: LogOption = "WARNING",
) -> None:
    """Run both services until Ctrl-C; prints their addresses once they are ready."""
    from services.processes import running

    settings = output.settings(
        encoders=encoders,
        backend=backend,
        accept_noncommercial=accept_noncommercial,
        host=host,
        embedding_port=embedding_port,
        classification_port=classification_port,
        heads=heads,
        store=store,
        log_level=log_level,
    )
    with output.stopping_on_sigterm(), running(settings) as services:
        output.out.print(f"embedding       {services.embedding_url}/docs")
        output.out.print(f"classification  {services.classification_url}/docs")
        output.out.print(f"try: curl -F images=@photo.jpg '{services.classification_url}/classify?head=NAME'")
        output.out.print("Ctrl-C stops both")
        ended = services.wait()
    output.err.print(f"the {ended} service has ended; both are stopped")
    raise typer.Exit(1)


@app.command()
def classify(
    files: Annotated[
        list[Path], typer.Argument(help="images, sounds, videos or measurements", exists=True, dir_okay=False)
    ],
    head: Annotated[list[str] | None, typer.Option("--head", help="name, name@alias; repeat for more")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="labels to rank")] = 5,
    coverage: Annotated[float, typer.Option(help="of the prediction set, between 0 and 1")] = 0.9,
    sets: Annotated[Sets, typer.Option(help="kind of prediction set")] = Sets.lac,
    min_probability: Annotated[float | None, typer.Option(help="abstain below it")] = None,
    max_outlier: Annotated[float | None, typer.Option(help="abstain above this outlier percentile")] = None,
    labels: Annotated[
        str | None, typer.Option(help="names separated by commas, in place of the head's own; for heads with texts")
    ] = None,
    modality: ModalityOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running classification service about files. A label in brackets is one that the head abstains from."""
    from services.web.schemas import ClassifyResponse

    items: list[ClassifiedItem] = []
    options: ClassifyOptions = {
        "top_k": top_k,
        "coverage": coverage,
        "sets": sets.value,
        "min_probability": min_probability,
        "max_outlier": max_outlier,
        "labels": labels.split(",") if labels else None,
        "modality": output.modality(modality),
    }
    with _client(url) as client:
        for start in range(0, len(files), FILES_A_REQUEST):
            some = files[start : start + FILES_A_REQUEST]
            items += client.classify(some, heads=head or (), **options).items
    if as_json:
        print(ClassifyResponse(items=items).model_dump_json(exclude_none=True))
    else:
        rows = [(item.name, *_told(found)) for item in items for found in item.answers]
        columns = ("file", "head", "label", "probability", "prediction set", "outlier percentile", "abstained for")
        output.table(columns, rows)
        for item in items:
            for found in item.answers:
                if found.missing_encoders:
                    output.err.print(f"{item.name}: {_without(found)}")
            if item.error:
                output.err.print(f"{item.name}: {item.error.code}: {item.error.message}")
    raise typer.Exit(output.PARTIAL if any(item.error for item in items) else 0)


@app.command()
def search(
    image: Annotated[Path | None, typer.Argument(help="an image", exists=True, dir_okay=False)] = None,
    text: Annotated[str | None, typer.Option("--text", help="what to look for, in words")] = None,
    id_: Annotated[str | None, typer.Option("--id", help="of a stored asset")] = None,
    encoder: EncoderOption = "lite0",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="how many")] = 10,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the running classification service for the stored assets nearest to an image, a text or an asset."""
    query = {name: value for name, value in (("text", text), ("id", id_)) if value is not None}
    if len(query) + (image is not None) != 1:
        raise typer.BadParameter("give exactly one of IMAGE, --text and --id")
    with _client(url) as client:
        found = client.search(image, encoder=encoder, k=k, **query)
    if as_json:
        print(found.model_dump_json(exclude_none=True))
    else:
        output.table(("cosine", "asset", "uri"), [(f"{h.score:.3f}", h.id[:12], h.uri or "") for h in found.hits])


def _client(url: str | None) -> "Client":
    from services.client import Client

    settings = output.settings()
    return Client(url or f"http://127.0.0.1:{settings.classification_port}", timeout=settings.embedding_timeout)


def _told(found: "HeadAnswer") -> tuple[str, ...]:
    """An answer as the cells of a table."""
    percentile, members = found.outlier_percentile, found.prediction_set
    label, probability = found.label, f"{found.probability:.3f}"
    if found.labels is not None:
        label = ", ".join(each.label for each in found.labels) or f"none (most likely: {label})"
        probability = ", ".join(f"{each.probability:.3f}" for each in found.labels) or probability
    return (
        found.head,
        f"({label})" if found.abstained else label,
        probability,
        ", ".join(_shortened(members.labels)) if members else "",
        "" if percentile is None else f"{percentile:.0f}",
        ", ".join(found.abstained_for or ()),
    )


def _without(found: "HeadAnswer") -> str:
    """That a fused head had to do without some encoders, and what that costs."""
    lost = "" if found.accuracy_lost is None else f", which lost {found.accuracy_lost:.1%} accuracy in training"
    return f"{found.head} answered without {', '.join(found.missing_encoders or ())}{lost}"


def _shortened(labels: list[str]) -> list[str]:
    more = len(labels) - LABELS_SHOWN
    return [*labels[:LABELS_SHOWN], f"and {more} more"] if more > 0 else labels
