"""What stands in a head's manifest.json, checked at the door."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from classifiers.evaluation.conformal import kept_ranks

PROTOCOL = 3
"""Raised when an older reader would misread a head folder. Readers keep reading every earlier protocol.

1: heads score vectors as they are; `conformal` holds thresholds of four coverages, `outlier` quantiles of the head's
log density. 2: settings may hold a transform. 3: `conformal` holds nonconformity scores, `outlier` quantiles of the
score of outlier.safetensors.
"""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*\.[a-z0-9]+$", max_length=80)]
"""No slash, no leading dot, no '..': a file of the head's own folder and nothing else."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderBlock(_Strict):
    """Which columns of a head's vectors one encoder fills: [start, stop)."""

    name: str
    fingerprint: Sha256
    columns: tuple[int, int]


def side_by_side(encoders: Sequence[EncoderBlock]) -> tuple[EncoderBlock, ...]:
    """The same encoders with columns that follow each other from 0 on."""
    ends = list(accumulate(encoder.columns[1] - encoder.columns[0] for encoder in encoders))
    return tuple(
        encoder.model_copy(update={"columns": columns})
        for encoder, columns in zip(encoders, pairwise([0, *ends]), strict=True)
    )


class ArrayShape(_Strict):
    shape: tuple[int, ...]
    dtype: str


class Conformal(_Strict):
    """What prediction sets need of the calibration rows (see `classifiers.evaluation.conformal`).

    Attributes:
        rows: how many there were.
        lac, aps: the nonconformity scores that were kept of each kind, smallest first.
    """

    rows: int = Field(ge=1)
    lac: tuple[float, ...]
    aps: tuple[float, ...]

    @model_validator(mode="after")
    def _as_many_as_are_kept(self) -> Self:
        for scores in (self.lac, self.aps):
            if len(scores) != len(kept_ranks(self.rows)) or list(scores) != sorted(scores):
                raise ValueError(f"{len(scores)} scores of {self.rows} rows, or not in order")
        return self


class TrainingRecord(_Strict):
    """Where a head comes from and what was measured: all that its arrays do not say.

    Attributes:
        parameters: hyper-parameters of the estimator.
        encoders: whose vectors the head takes, with their columns, in order.
        snapshot: table versions the head was trained on.
        training_ids: sha256 over the sorted asset ids of the training rows, each followed by a newline.
        counts: training rows per class, in the order of the classes.
        metrics: split → metric → value.
        conformal: what gives prediction sets; empty when there were no rows to calibrate on. Before protocol 3:
            coverage → least probability in the prediction set.
        outlier: quantiles of the validation rows' outlier scores (before protocol 3: of their log density), smallest
            first; empty when there are none.
        packages: versions of the packages that made the head.
    """

    parameters: dict[str, JsonValue]
    task: str
    encoders: tuple[EncoderBlock, ...] = Field(min_length=1)
    snapshot: dict[str, JsonValue]
    training_ids: Sha256
    counts: tuple[int, ...]
    metrics: dict[str, dict[str, float]]
    conformal: Conformal | dict[str, float]
    outlier: tuple[float, ...]
    packages: dict[str, str]
    created_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @model_validator(mode="after")
    def _columns_follow_each_other(self) -> Self:
        stop = 0
        for encoder in self.encoders:
            if encoder.columns[0] != stop or encoder.columns[1] <= stop:
                raise ValueError(f"columns of {encoder.name} are {encoder.columns}, expected to start at {stop}")
            stop = encoder.columns[1]
        return self

    @property
    def dim(self) -> int:
        """Width of the vectors: all encoders' columns together."""
        return self.encoders[-1].columns[1]


class Manifest(TrainingRecord):
    """A training record with the head itself: its kind, classes, arrays and the digests of its files."""

    protocol: Literal[1, 2, 3] = 3
    kind: str
    classes: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(gt=0)
    settings: dict[str, JsonValue]
    arrays: dict[str, ArrayShape]
    files: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _one_name_per_class(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes repeat")
        if len(self.counts) != len(self.classes):
            raise ValueError(f"{len(self.counts)} counts for {len(self.classes)} classes")
        return self

    def digest(self) -> str:
        """12 hex digits over all that makes two heads the same content: everything but time and snapshot.

        A snapshot says when the rows were read; what was read is in the statistics and the ids' digest.
        """
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"created_at", "snapshot"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def version(self) -> str:
        """UTC time to the millisecond and the digest, e.g. ``20260102T030405678Z-0123456789ab``."""
        time = self.created_at.astimezone(UTC)
        return f"{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03d}Z-{self.digest()}"


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Their versions, where installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # e.g. headwater run from a checkout
            continue
    return versions
