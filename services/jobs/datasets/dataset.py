"""Dataset: a folder in the layout of one published data set. A subclass reads one layout."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from services.jobs.annotations.matching import Some
from store.items import Item
from store.rows import encodable
from store.sources import Sources


class Problem(NamedTuple):
    """A fault of a data set.

    Attributes:
        one, several: how a user reads it.
        loses: True if a file or a label of the data set is lost by it.
    """

    one: str
    several: str
    loses: bool = True


PROBLEMS = {
    "parts_missing": Problem("part is missing", "parts are missing"),
    "parts_damaged": Problem("part is damaged and was left out", "parts are damaged and were left out"),
    "files_missing": Problem("listed file is missing", "listed files are missing"),
    "files_unlabelled": Problem("file of the data set has no label", "files of the data set have no label"),
    "rows_damaged": Problem("row cannot be read", "rows cannot be read"),
    "labels_contradicted": Problem(
        "label is verified as present and as absent, and was left out",
        "labels are verified as present and as absent, and were left out",
    ),
    "captions_too_long": Problem("caption is too long and was left out", "captions are too long and were left out"),
    "classes_unnamed": Problem("class has no name, so its id is its label", "classes have no name", loses=False),
    "files_unlisted": Problem("file is in no list and was left out", "files are in no list and were left out", False),
}
"""The problems that are counted while a data set is read. None of them ends the reading."""


class Dataset(Sources):
    """The items of a published data set, with their labels and splits. It may be iterated over again.

    Attributes:
        understood: what becomes labels and splits, as a user reads it.
        problems: number of each of `PROBLEMS` in the last iteration, with the first one.
    """

    understood: ClassVar[str]

    def __init__(self, root: Path) -> None:
        super().__init__([root])
        self.root = root
        self.problems: dict[str, Some] = {}

    @classmethod
    @abstractmethod
    def sign(cls, root: Path) -> Path | None:
        """Return the file that only this data set has, in the folder `root`; None if it is not there."""

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """Yield the files with their labels. Raises BadSource if a file that everything depends on cannot be read."""

    def __iter__(self) -> Iterator[Item]:
        self.junk.clear()
        self.problems.clear()
        yield from self.items()

    def count(self, problem: str, example: str, number: int = 1) -> None:
        """Count a problem of `PROBLEMS`. Its first `example` is kept."""
        if number:
            before = self.problems.get(problem, Some(0, encodable(example)))
            self.problems[problem] = Some(before.count + number, before.example)

    @property
    def loses(self) -> bool:
        """True if a file or a label of the data set was lost in the last iteration."""
        return any(PROBLEMS[name].loses for name in self.problems)

    @property
    def found(self) -> Iterator[str]:
        """The problems of the last iteration, as a user reads them."""
        for name, some in self.problems.items():
            problem = PROBLEMS[name]
            yield f"{some.count:,} {problem.one if some.count == 1 else problem.several}, e.g. {some.example}"


def first(root: Path, *patterns: str) -> Path | None:
    """Return the first path below `root` that fits one of the glob patterns, tried in order; None if none does."""
    return next((path for pattern in patterns for path in sorted(root.glob(pattern))), None)
