"""The bodies of the requests and answers about learning from corrections."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.web.schemas.common import Body
from services.web.schemas.jobs import HeadName, Required

LearnKind = Literal["gaussian", "mixture", "linear", "fusion", "labelwise"]
"""Kinds of heads that learn from stored vectors alone. Others embed texts or read tokens: a job trains them."""

LEARNABLE: Mapping[Literal["one", "any"], tuple[LearnKind, ...]] = {
    "one": ("gaussian", "mixture", "linear", "fusion"),
    "any": ("labelwise",),
}
"""Number of labels of a row, exactly one or any → the kinds of heads for such rows, the simplest first."""


class LearnRequest(Body):
    """Train a new version of a head, and compare it with the version before."""

    task: Required = Field(description="The task whose labels the head learns.")
    name: HeadName = Field(description="Name of the head: 1 to 64 letters, digits, `_` and `-`, no `_` or `-` first.")
    encoder: Required | None = Field(
        None, description="Name or fingerprint of an encoder; null for those of the latest version of the head."
    )
    kind: LearnKind | None = Field(None, description="Kind of head; null for that of the latest version.")
    against: Required | None = Field(
        None, description="A version or an alias to compare with; null for the latest version before this one."
    )


class CurrentHead(BaseModel):
    """The head of a task that was trained last."""

    name: str = Field(description="Name of the head.")
    version: str = Field(description="Its latest version.")
    kind: str = Field(description="Its kind.")
    encoders: list[str] = Field(description="Names of the encoders that it reads.")


class LearnableTask(BaseModel):
    """A task, and what a head for it can be learned from."""

    name: str = Field(description="Name of the task.")
    encoders: list[str] = Field(
        description="Encoders with vectors of training rows of two labels or more, the one with most rows first."
    )
    kinds: list[str] = Field(description="Kinds of heads that fit its labels, the simplest first.")
    current: CurrentHead | None = Field(description="The head of this task that was trained last; null without any.")


class LearnableResponse(BaseModel):
    """What can be learned."""

    ready: bool = Field(description="True if the process that trains has started; training is faster then.")
    tasks: list[LearnableTask] = Field(description="All tasks, by name.")


class VersionComparisonBody(BaseModel):
    """Two versions of a head on the same held-out rows.

    A row counts by its F1: with one class a row, 1 if the answer is right and 0 if not; with any number of labels, the
    F1 of the labels that the head gives the row.
    """

    split: Literal["test", "val"] = Field(description="The split of the rows: test, or val if test has none.")
    rows: int = Field(description="Number of rows with a vector of every encoder that one of the versions reads.")
    right_before: int = Field(description="Rows to which the version before gives the right labels and no other.")
    right_now: int = Field(description="Rows to which the new version gives the right labels and no other.")
    difference: float = Field(description="Mean F1 of a row, the new version minus the one before.")
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        description="95 % interval of the difference from the paired bootstrap; if it contains 0, it may be chance."
    )
    changed: int = Field(description="Rows whose answer changed.")
    became_right: list[str] = Field(description="Ids of rows with a higher F1 now, at most 50, most changed first.")
    became_wrong: list[str] = Field(description="Ids of rows with a lower F1 now, at most 50, most changed first.")


class LearnResponse(BaseModel):
    """The new version of a head."""

    head: str = Field(description="name@version of the head. If nothing changed, it is the version before.")
    seconds: float = Field(description="Seconds that the request took, its wait for others included.")
    against: str | None = Field(description="name@version that it was compared with; null for a first version.")
    figures: dict[str, dict[str, float]] = Field(description="Figures that are one number each, by split.")
    warnings: list[str] = Field(description="Reasons not to use the head, or why it was not compared.")
    comparison: VersionComparisonBody | None = Field(
        description="The comparison with the version before; null without one, and without rows to compare on."
    )
