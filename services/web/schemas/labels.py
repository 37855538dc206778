"""The bodies of the requests and answers about labels."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from services.web.schemas.common import MOST_NAME, Body, Name, SplitName

MOST_LABELLED = 10_000
"""Largest number of assets that one request labels."""

MOST_LABELS_EACH = 100
"""Largest number of labels of one asset in a request."""

NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
"""Pattern of a text with at least one character that is no space. Languages differ in which characters `\\s` has."""

LabelName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_NAME),
    Field(json_schema_extra={"pattern": NOT_BLANK}),
]
TaskName = Annotated[str, StringConstraints(min_length=1, max_length=MOST_NAME)]


class NewLabels(Body):
    """The labels that an asset is to have."""

    id: Name = Field(description="Id of a stored asset.")
    labels: list[LabelName] = Field(
        max_length=MOST_LABELS_EACH, description="Its labels; an empty list if none of the task's labels applies."
    )
    split: SplitName | None = Field(
        None,
        description="Split of an asset that has none in this task yet: train, val, test or ood. Without it, an asset "
        "keeps its split, or a hash of the asset chooses train, val or test.",
    )


class LabelsRequest(Body):
    """Labels for stored assets, in the place of those that they have. The request is one change."""

    task: TaskName = Field(description="The task.")
    labels: list[NewLabels] = Field(min_length=1, max_length=MOST_LABELLED, description="One item for each asset.")
    source: Name = Field("", description="Who or what made the labels; `http` if it is empty.")


class LabelsChanged(BaseModel):
    """A change of labels."""

    task: str = Field(description="The task.")
    changed: int = Field(description="Number of assets whose labels were set or removed, and were others before.")
    at: datetime = Field(description="Time of the change. `POST /v1/labels/undo` takes it.")


class LabelledAsset(BaseModel):
    """The labels that an asset has or had in a task."""

    id: str = Field(description="Id of the asset.")
    task: str = Field(description="The task.")
    labels: list[str] = Field(description="The labels.")
    split: str = Field(description="The split: train, val, test or ood.")
    source: str = Field(description="Where the labels come from.")
    at: datetime = Field(description="Time of the change that set them.")
    until: datetime | None = Field(None, description="Time of the change that ended them; null for current labels.")
    by: str = Field("", description="Source of the change that ended them.")
    undone: bool = Field(False, description="True if that change took an earlier one back.")


class LabelsResponse(BaseModel):
    """Labels of a task."""

    task: str = Field(description="The task.")
    count: int = Field(description="Number of all matching rows.")
    labels: list[LabelledAsset] = Field(description="Some of them, in the order in which they are stored.")


class HistoryResponse(BaseModel):
    """The labels that an asset has and had."""

    id: str = Field(description="Id of the asset.")
    history: list[LabelledAsset] = Field(description="The oldest first; current labels have no `until`.")


class UndoRequest(Body):
    """Which change to take back: the last one."""

    task: TaskName | None = Field(
        None, description="Take back the last change of this task, and only what it did there."
    )
    at: Annotated[datetime, Field(strict=False)] | None = Field(
        None, description="Refuse with 409 `nothing_to_undo` if the last change is not the one of this time."
    )


class UndoResponse(BaseModel):
    """The change that was taken back."""

    at: datetime = Field(description="Time of the change.")
    tasks: list[str] = Field(description="Tasks whose labels it had changed.")
    sources: list[str] = Field(description="Up to five sources of its labels.")
    restored: int = Field(description="Number of assets that have their former labels back.")
    removed: int = Field(description="Number of assets that have no labels again.")
