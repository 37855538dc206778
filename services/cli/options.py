"""Options that several commands share, each defined once, and the settings and the store that they choose."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from embedder.spec import MODALITIES, Modality
from services.cli.completion import encoder_names, head_names, modality_names, task_names
from services.cli.errors import BadSettings
from services.settings import Settings

if TYPE_CHECKING:
    from store import Store


class Engine(enum.StrEnum):
    """The place where a job runs: this process, or a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


def task_option(about: str, without: str) -> Any:
    """Return the option ``--task`` of a command that needs none.

    Args:
        about: its help.
        without: what holds if it is left out, as the help shows it.
    """
    return typer.Option("--task", "-t", metavar="NAME", help=about, show_default=without, autocompletion=task_names)


def default_of(setting: str) -> str:
    """Return the default of an option that overrides `setting`, as its help shows it."""
    value = Settings.model_fields[setting].default
    return f"HEADWATER_{setting.upper()}, or {value}" if str(value) else f"HEADWATER_{setting.upper()}"


StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="Feature store: a folder or any LanceDB URI.",
        show_default=default_of("store"),
    ),
]
HeadsOption = Annotated[
    Path | None,
    typer.Option("--heads", metavar="FOLDER", help="Folder of trained heads.", show_default=default_of("heads")),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
NamesOnlyOption = Annotated[
    bool, typer.Option("--names-only", help="Write the name of each file only, not the folder that it is in.")
]
EncoderOption = Annotated[
    str,
    typer.Option(
        "--encoder",
        "-e",
        metavar="NAME",
        help="The encoder: lite0 for images, melstat for sounds, or another one.",
        autocompletion=encoder_names,
    ),
]
EncodersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        "-e",
        metavar="NAME",
        help="The encoder whose stored vectors are used. Repeat it for several.",
        autocompletion=encoder_names,
        show_default="lite0",
    ),
]
TaskOption = Annotated[
    str,
    typer.Option(
        "--task", "-t", metavar="NAME", help="The task whose labels the head learns.", autocompletion=task_names
    ),
]
ModalityOption = Annotated[
    str | None,
    typer.Option(
        "--modality",
        metavar="NAME",
        help="The modality of the files: depth, thermal, imu, or video for animations. Other files need none.",
        autocompletion=modality_names,
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="The inference engine, which computes the vectors: auto, torch or openvino, optionally with device and "
        "precision, for example torch-cuda-bf16.",
        show_default=default_of("backend"),
    ),
]
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Where the job runs: in this process (local), or on a Ray cluster (ray).")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        help="With --engine ray: the address of a running cluster, host:port or auto. Without it, a cluster on this "
        "machine is started and stopped again.",
        show_default=default_of("ray_address"),
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", help="With --engine ray: the number of workers.", show_default="as many as fit"
    ),
]
CpusOption = Annotated[int, typer.Option("--cpus", metavar="N", help="With --engine ray: CPUs of each worker.")]
GpusOption = Annotated[
    float, typer.Option("--gpus", metavar="N", help="With --engine ray: GPUs of each worker. May be a fraction.")
]
AcceptOption = Annotated[
    bool | None,
    typer.Option(
        "--accept-noncommercial",
        help="States that your use is not commercial, as ImageBind's licence demands.",
        show_default=False,
    ),
]
TrustOption = Annotated[
    bool | None,
    typer.Option(
        "--trust-checkpoint",
        help="States that you trust whoever made the checkpoint: reading a TorchScript archive may run code in it.",
        show_default=False,
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the random number generator.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="One hyper-parameter. The value is read as JSON if it is JSON, otherwise as text. Repeat it for several.",
    ),
]
NearestOption = Annotated[
    int, typer.Option("--nearest", metavar="N", min=1, help="How many of the nearest clusters count for an image.")
]
RowsOption = Annotated[
    str | None,
    typer.Option(
        "--rows-of",
        metavar="TASK",
        help="Use only images that this task labels. The labels themselves are not read.",
        show_default="all images",
        autocompletion=task_names,
    ),
]
HeadArgument = Annotated[
    str,
    typer.Argument(help="The head: NAME, NAME@ALIAS or NAME@VERSION.", show_default=False, autocompletion=head_names),
]


def settings(**options: Any) -> Settings:
    """Return the settings of the environment, overridden by the options that are not None. Raises BadSettings."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise BadSettings(error, given) from None


def open_store(chosen: Settings) -> "Store":
    """Open a store to read from it. Raises NoStore if nothing was ever stored there."""
    from store import Store

    return Store.open(chosen.store, must_exist=True, max_file_bytes=chosen.max_file_bytes)


def modality(text: str | None) -> Modality | None:
    """Return the modality of that name; None for None. Raises typer.BadParameter for another name."""
    found = next((each for each in MODALITIES if each == text), None)
    if text is not None and found is None:
        raise typer.BadParameter(f"--modality {text!r}: give one of {', '.join(MODALITIES)}")
    return found


def parameters(texts: list[str] | None) -> dict[str, Any]:
    """Return the hyper-parameters of `--set`: ``["C=0.5"]`` → ``{"C": 0.5}``. Raises typer.BadParameter."""
    from classifiers.compare import candidates
    from classifiers.errors import BadParameter

    def assignment(text: str) -> tuple[str, Any]:
        try:
            return candidates.assignment(text)
        except BadParameter:
            raise typer.BadParameter(f"--set {text!r}: write NAME=VALUE, for example --set shrinkage=0.1") from None

    return dict(map(assignment, texts or ()))


class OnConflict(enum.StrEnum):
    """Which labels the same content gets if it is given several."""

    ERROR = "error"
    FIRST = "first"
    LAST = "last"
    BOTH = "both"


OnConflictOption = Annotated[
    OnConflict,
    typer.Option(
        "--on-conflict",
        help="What to do if the same content has different labels or splits: stop (error), take the first or the last, "
        "or store all labels (both).",
    ),
]

GroupOption = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="The column with the speaker, patient, site or camera of each row, in the table of labels or a "
        "Parquet SOURCE. Rows of one group are never in two folds, and new ones get one split.",
        show_default="no groups",
    ),
]


def column(name: str, what: str) -> Any:
    """Return the option for the column `name` of a table of labels."""
    return typer.Option(f"--{name}-column", metavar="NAME", help=what, show_default="guessed from its name")
