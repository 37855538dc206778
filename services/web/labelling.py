"""The labels that every file of a request gets: parameters of the endpoints that store files, and their rule."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from services.web.errors import BadRequest
from services.web.schemas import MOST_NAME, Name, SplitName
from store import Label

MOST_LABELS = 100
"""Largest number of labels of one request."""

SPLIT = (
    "Split of the files: train, val, test, or ood for out-of-distribution files, which belong to none of the task's "
    "classes. Without it, a hash of each file chooses train, val or test."
)

FilesTask = Annotated[str | None, Query(max_length=MOST_NAME, description="Task that the labels belong to.")]
FilesLabels = Annotated[
    list[Name] | None,
    Query(max_length=MOST_LABELS, description="Labels of every file of the request; repeat for more."),
]
FilesSplit = Annotated[SplitName | None, Query(description=SPLIT)]


@dataclass(frozen=True, slots=True)
class Labelling:
    """The labels that every file of one request gets. `task` is None if the request has no labels."""

    task: str | None
    labels: tuple[str, ...]
    split: str | None

    def row(self, id_: str) -> Label:
        return Label(id=id_, labels=list(self.labels), split=self.split, source="http")


def labelling(task: str | None, labels: list[str] | None, split: str | None) -> Labelling:
    """Return the labels that a request gives its files. Raises BadRequest for parameters that lack their others."""
    if bool(labels) != bool(task):
        raise BadRequest("task and label go together: give both, or neither")
    if split and not task:
        raise BadRequest("a split belongs to the labels of a task: give task and label too, or leave split out")
    return Labelling(task, tuple(labels or ()), split)
