"""The bodies of the requests and answers about stored assets, the quarantine, and the caller."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from services.web.schemas.common import WHOLE, Body, Name

MOST_THUMBNAILS = 256
"""Largest number of thumbnails of one answer."""


def _number(given: object) -> object:
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given


Side = Annotated[Literal[128, 256, 512, 1600], BeforeValidator(_number)]
"""Long side of a picture in pixels."""


class ThumbnailsRequest(Body):
    """Stored assets whose thumbnails are asked for."""

    ids: list[Name] = Field(min_length=1, max_length=MOST_THUMBNAILS, description="Ids of the assets.")
    size: Annotated[Literal[128, 256, 512], WHOLE] = Field(
        256, description="Long side of the pictures in pixels. No picture is enlarged."
    )


class TaskLabels(BaseModel):
    """The labels of an asset in a task."""

    task: str = Field(description="The task.")
    labels: list[str] = Field(description="The labels.")
    split: str = Field(description="The split: train, val, test or ood.")
    source: str = Field(description="Where the labels come from.")
    at: datetime = Field(description="Time of the change that set them.")


class AssetDetails(BaseModel):
    """All that is known of a stored asset."""

    id: str = Field(description="SHA-256 of the file's bytes.")
    uri: str = Field(description="Path, URI or name of the file when it was stored.")
    modality: str = Field(description="image, audio, video, depth, thermal or imu; `vector` if there is no file.")
    media_type: str = Field(description="Media type of the file.")
    bytes: int | None = Field(description="Size of the file; null if it cannot be read any more.")
    width: int | None = Field(None, description="Width in pixels.")
    height: int | None = Field(None, description="Height in pixels.")
    seconds: float | None = Field(None, description="Duration of a sound or video.")
    labels: list[TaskLabels] = Field(description="Its labels in every task that has some for it.")
    heads: list[str] = Field(
        description="Heads that learned from it, as name@version: of each head the latest version, and those with an "
        "alias. Versions that recorded no training rows are not among them."
    )


class QuarantinedItem(BaseModel):
    """A file or an asset that could not be processed."""

    name: str = Field(description="Name of the file, or id of the asset.")
    stage: str = Field(description="The job that failed: `ingest`, or `embed:` and the start of a fingerprint.")
    reason: str = Field(description="Name of the fault, for programs.")
    message: str = Field(description="What happened and what to do, for people.")


class QuarantineResponse(BaseModel):
    """Files and assets that could not be processed."""

    count: int = Field(description="Number of all.")
    items: list[QuarantinedItem] = Field(description="Some of them, in the order in which they are stored.")


class Me(BaseModel):
    """Who asks, and what that caller may do here."""

    name: str | None = Field(description="Name of the caller's key; null if the service has no keys.")
    role: Literal["read", "write", "admin"] = Field(
        description="Role of the key: what it may do. `admin` if the service has no keys."
    )
    keys: bool = Field(description="True if the service has keys.")
    jobs: bool = Field(description="True if the service can run jobs: its folder of jobs can be used.")
