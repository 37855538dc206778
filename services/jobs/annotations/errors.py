"""What can be wrong with a file of labels. Each error names the file, the place in it, and what to do."""

from collections.abc import Sequence
from difflib import get_close_matches

from store.errors import BadLabels, BadSource, FrozenSplit


class BadAnnotations(BadSource):
    """A file of labels cannot be used. Nothing was stored."""


class NoColumn(BadAnnotations):
    """A table of labels has no column for one of its `role`s: path, label, split, id or group.

    Attributes:
        role: the column that is needed.
        columns: the columns of the table.
    """

    def __init__(self, path: str, role: str, columns: Sequence[str], wanted: str | None = None) -> None:
        self.role, self.columns = role, list(columns)
        listed = ", ".join(_short(name) for name in self.columns[:20]) or "none"
        if wanted is None:
            said = f"{path} has no column that is known to hold the {role}"
        else:
            near = get_close_matches(wanted, self.columns, 1)
            said = f"{path} has no column {_short(wanted)!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        super().__init__(f"{said}; its columns are {listed}. Name the column with the {role}")


class UnknownSplit(BadAnnotations):
    """A row names a split that does not exist."""


class NothingMatched(BadAnnotations):
    """No row of a file of labels names one of the files."""


class Conflicts(BadLabels):
    """The same content has different labels, splits or groups.

    Attributes:
        count: number of contents.
        examples: the places and the labels of the first ones.
    """

    def __init__(self, count: int, examples: Sequence[str]) -> None:
        self.count, self.examples = count, list(examples)
        contents = "1 file has" if count == 1 else f"{count:,} files have"
        super().__init__(
            f"{contents} the same content under different labels, splits or groups, e.g. {self.examples[0]}; "
            "nothing was stored. Correct the labels, or decide which one counts"
        )


class MovedSplit(FrozenSplit):
    """Files or rows give assets another split than the stored one.

    Attributes:
        place: the first of them.
    """

    def __init__(self, error: FrozenSplit, place: str) -> None:
        super().__init__(error.task, error.moves)
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {super().__str__()}"


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else text[:most] + "…"
