"""Commands that run the services: serve, up."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.options import AcceptOption, BackendOption, HeadsOption, StoreOption, TrustOption, default_of

app = typer.Typer()

MAX_PORT = 65535


class Service(StrEnum):
    """A service that `headwater serve` can run."""

    embedding = "embedding"
    classification = "classification"
    both = "both"


HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="The address to listen on.", show_default=default_of("host")),
]
InsecureOption = Annotated[
    bool | None,
    typer.Option(
        "--insecure",
        help="Listen on another address than loopback without keys. Whoever reaches it may do everything.",
        show_default=default_of("insecure"),
    ),
]
EmbeddersOption = Annotated[
    str | None,
    typer.Option(
        "--encoders",
        metavar="NAMES",
        help="The encoders that the embedding service loads, separated by commas.",
        show_default="HEADWATER_ENCODERS, or lite0,melstat",
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="How much is logged: DEBUG, INFO, WARNING or ERROR.",
        show_default=default_of("log_level"),
    ),
]
GraceOption = Annotated[
    float | None,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        min=0.1,
        help="Seconds that requests under way have to finish when the service is stopped.",
        show_default=default_of("grace"),
    ),
]


def _port(service: str) -> Any:
    """Return the option for the port of a service."""
    return typer.Option(
        f"--{service}-port",
        metavar="N",
        min=1,
        max=MAX_PORT,
        help=f"The port of the {service} service.",
        show_default=default_of(f"{service}_port"),
    )


PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        min=1,
        max=MAX_PORT,
        help="The port to listen on.",
        show_default="HEADWATER_EMBEDDING_PORT or HEADWATER_CLASSIFICATION_PORT, or 8000 or 8001",
    ),
]
EmbeddingPortOption = Annotated[int | None, _port("embedding")]
ClassificationPortOption = Annotated[int | None, _port("classification")]

EmbeddingUrlOption = Annotated[
    str | None,
    typer.Option(
        "--embedding-url",
        metavar="URL",
        help="Where the classification service finds the embedding service.",
        show_default="HEADWATER_EMBEDDING_URL, or this machine: HEADWATER_HOST and HEADWATER_EMBEDDING_PORT",
    ),
]


@app.command()
def serve(
    service: Annotated[Service, typer.Argument(help="The service to run.", show_default=False)],
    port: PortOption = None,
    host: HostOption = None,
    insecure: InsecureOption = None,
    encoders: EmbeddersOption = None,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    embedding_url: EmbeddingUrlOption = None,
    heads: HeadsOption = None,
    store: StoreOption = None,
    log_level: LogOption = None,
    grace: GraceOption = None,
) -> None:
    """Run one service in the foreground, or both in one process.

    Logs are JSON lines on standard error.
    """
    if service is Service.both and port is not None:
        raise typer.BadParameter(
            "two services need two ports: set HEADWATER_EMBEDDING_PORT and HEADWATER_CLASSIFICATION_PORT",
            param_hint="--port",
        )
    from services.web import logs, server
    from services.web.access.guards import require_guarded

    settings = options.settings(
        host=host,
        insecure=insecure,
        encoders=encoders,
        backend=backend,
        accept_noncommercial=accept_noncommercial,
        trust_checkpoint=trust_checkpoint,
        embedding_url=embedding_url,
        heads=heads,
        store=store,
        log_level=log_level,
        grace=grace,
        **({} if port is None else {f"{service}_port": port}),
    )
    require_guarded(settings)  # before the imports below, which take seconds
    logs.configure(settings.log_level)
    if service is Service.both:
        from services import one_process

        one_process.run(settings)
    elif service is Service.embedding:
        from services.embedding import create_app

        server.run(create_app(settings), settings, settings.embedding_port)
    else:
        from services.classification import create_app

        server.run(create_app(settings), settings, settings.classification_port)


@app.command()
def up(
    encoders: EmbeddersOption = None,
    backend: BackendOption = None,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    host: HostOption = None,
    insecure: InsecureOption = None,
    embedding_port: EmbeddingPortOption = None,
    classification_port: ClassificationPortOption = None,
    heads: HeadsOption = None,
    store: StoreOption = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="LEVEL",
            help="How much is logged: DEBUG, INFO, WARNING or ERROR.",
            show_default="HEADWATER_LOG_LEVEL, or WARNING",
        ),
    ] = None,
    grace: GraceOption = None,
    one_process: Annotated[
        bool,
        typer.Option(
            "--one-process",
            help="Run both in one process: less processor time for each photo. For machines with few cores.",
        ),
    ] = False,
) -> None:
    """Run both services until Ctrl-C.

    The address of the page, and those of both services, are printed once they are ready.
    """
    from services.processes import running

    settings = options.settings(
        encoders=encoders,
        backend=backend,
        accept_noncommercial=accept_noncommercial,
        trust_checkpoint=trust_checkpoint,
        host=host,
        insecure=insecure,
        embedding_port=embedding_port,
        classification_port=classification_port,
        heads=heads,
        store=store,
        log_level=log_level,
        grace=grace,
    )
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "WARNING"})
    with terminal.stopping_on_sigterm(), running(settings, one_process=one_process) as services:
        print(f"open            {services.classification_url}/")
        print(f"embedding       {services.embedding_url}/docs")
        print(f"classification  {services.classification_url}/docs")
        print(f"try: curl -F images=@photo.jpg '{services.classification_url}/classify?head=NAME'")
        print("Ctrl-C stops both", flush=True)
        ended = services.wait()
    terminal.err.print(f"error: the {ended} service has ended, so both were stopped; its log is above", style="red")
    raise typer.Exit(1)
