"""The command `headwater`."""

import sys

import typer
from pydantic import ValidationError

from classifiers.errors import (
    BadClustering,
    BadComparison,
    BadParameter,
    NotTrainable,
    UnknownClustering,
    UnknownKind,
    UnknownParameter,
)
from embedder.errors import ExportFailed, LicenceNotAccepted, ProbeMismatch, WeightsError
from services.cli import compare, data, demo, discover, doctor, exporting, learn, output, serving
from services.processes import NotStarted
from services.web.errors import ERRORS, ClusterProblem, RemoteProblem, WorkerFailed

app = typer.Typer(
    help="Embed once, train heads in seconds, serve them over HTTP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for group in (data.app, discover.app, learn.app, compare.app, serving.app, exporting.app, demo.app, doctor.app):
    app.add_typer(group)

EXPECTED: tuple[type[Exception], ...] = (
    *ERRORS,
    *(RemoteProblem, NotStarted, BadComparison, BadParameter, NotTrainable, UnknownKind, UnknownParameter),
    *(BadClustering, UnknownClustering, ExportFailed, LicenceNotAccepted, ProbeMismatch, WeightsError),
    *(ClusterProblem, WorkerFailed, ValidationError, OSError),
)
"""Errors that a user can mend: one sentence and exit code 1. Any other is a fault of ours, with its traceback."""


EXTRAS = {
    **dict.fromkeys(("sklearn", "scipy", "matplotlib"), "train"),
    **dict.fromkeys(("onnxruntime", "onnxscript"), "export"),
    **dict.fromkeys(("ray", "lance"), "ray"),
    "faiss": "cluster",
    "elpv_dataset": "demo",
    **dict.fromkeys(("imagebind", "einops", "iopath"), "imagebind"),
}
"""Which extra brings a module that a command needs and the core does not have; others: ``embedding``."""


def main() -> None:
    try:
        app()
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0], "embedding")
        output.err.print(f"error: {error}; this command needs: pip install 'headwater[{extra}]'", style="red")
        sys.exit(1)
    except EXPECTED as error:
        output.err.print(f"error: {error}", style="red")
        sys.exit(1)
