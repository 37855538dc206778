"""The published data set that a command reads: its choice, and what is shown of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.completion import format_names
from store.errors import BadSource

if TYPE_CHECKING:
    from services.jobs.datasets.dataset import Dataset

FOLDERS = "folders"
"""The value of the option that turns the reading of published data sets off."""

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="The published data set that the folder holds, for example imagenet or coco; folders for none.",
        show_default="recognised by its files",
        autocompletion=format_names,
    ),
]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A published data set that is read.

    Attributes:
        format: name of its format.
        sign: the file by which it was recognised; None if the user named the format.
    """

    dataset: "Dataset"
    format: str
    sign: Path | None

    def require_some(self, handled: int) -> None:
        """Raise BadSource with the problems of the data set if not one of its files was there."""
        if not handled:
            found = "; ".join(self.dataset.found) or "its lists are empty"
            raise BadSource(f"{self.dataset.root} has none of the files of its data set: {found}")

    def show(self) -> None:
        """Print how the data set was read, and its problems."""
        off = f". Recognised by {self.sign}; --format {FOLDERS} turns this off" if self.sign else ""
        print(f"format {self.format}: {self.dataset.understood}{off}")
        for problem in self.dataset.found:
            print(f"  {problem}")

    def as_json(self) -> dict[str, Any]:
        """Return what `show` prints as JSON."""
        problems = {
            name: {"count": some.count, "example": some.example} for name, some in self.dataset.problems.items()
        }
        told = {
            "name": self.format,
            "recognised_by": self.sign and str(self.sign),
            "understood": self.dataset.understood,
            "captions": self.dataset.captions,
            "problems": problems,
        }
        return {"format": told}


def choose(source: Sequence[str] | None, labels: Path | None, name: str | None) -> Chosen | None:
    """Return the data set in the only source; None if that is no data set.

    Raises typer.BadParameter for a format with several sources or with a file of labels, and BadSource for a folder
    that does not have the format.
    """
    if name is not None and labels is not None:
        raise typer.BadParameter("--format and --labels both say where the labels are; give one of them")
    if name is not None and len(source or ()) != 1:
        raise typer.BadParameter("--format needs one folder: that of the data set")
    if name == FOLDERS or labels is not None or len(source or ()) != 1:
        return None
    folder = Path((source or ())[0]).expanduser().absolute()
    from services.jobs.datasets.formats import open_dataset, recognised

    found = name or recognised(folder)
    if found is None:
        return None
    dataset = open_dataset(folder, found)
    return Chosen(dataset, found, None if name else dataset.sign(folder))
