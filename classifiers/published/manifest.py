"""The manifest.json of a published head, validated when it is read."""

import hashlib
import json
import math
from binascii import hexlify
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
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
from classifiers.published.membership import Hashes, sorted_hashes

PROTOCOL = 3
"""Version of the folder format. It goes up if an older version of this package would misread a folder; all earlier
protocols can be read.

1: heads score vectors without a transform; `conformal` holds thresholds for four coverages, `outlier` quantiles of the
head's log density. 2: settings may hold a transform. 3: `conformal` holds nonconformity scores, `outlier` quantiles of
the score of outlier.safetensors.
"""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*\.[a-z0-9]+$", max_length=80)]
"""Name of a file in the head's own folder: no slash, no leading dot, no '..'."""

Name = Annotated[str, StringConstraints(max_length=1000)]
"""Name of a class, a task or an encoder. Answers repeat it, so its length is limited."""

MOST_FILES = 64
"""Maximum number of files of a head."""

MOST_COLUMNS = 2**22
"""Maximum width of a head's vectors, all encoders together: 16 MB a row. All tokens of an image are at most 1 M numbers
for the encoders that come with this package."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EncoderBlock(_Strict):
    """One encoder of a head, and the columns [start, stop) of the head's vectors that it fills."""

    name: Name
    fingerprint: Sha256
    columns: tuple[int, int]


def side_by_side(encoders: Sequence[EncoderBlock]) -> tuple[EncoderBlock, ...]:
    """Return the encoders with columns that follow each other, starting at 0."""
    ends = list(accumulate(encoder.columns[1] - encoder.columns[0] for encoder in encoders))
    return tuple(
        encoder.model_copy(update={"columns": columns})
        for encoder, columns in zip(encoders, pairwise([0, *ends]), strict=True)
    )


class ArrayShape(_Strict):
    shape: tuple[Annotated[int, Field(ge=0, le=2**40)], ...] = Field(max_length=8)
    dtype: Literal["float32", "float64", "int64"]

    @property
    def nbytes(self) -> int:
        """Size of the array, bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Conformal(_Strict):
    """Nonconformity scores of the calibration rows, for prediction sets (see `classifiers.evaluation.conformal`).

    Attributes:
        rows: number of calibration rows.
        lac, aps: the stored scores of both nonconformity scores, smallest first.
    """

    rows: int = Field(ge=1, le=2**40)
    lac: tuple[float, ...]
    aps: tuple[float, ...]

    @model_validator(mode="after")
    def _as_many_as_are_kept(self) -> Self:
        for scores in (self.lac, self.aps):
            if len(scores) != len(kept_ranks(self.rows)) or list(scores) != sorted(scores):
                raise ValueError(f"{len(scores)} scores do not fit {self.rows} rows, or they are not in order")
        return self


class TrainingRecord(_Strict):
    """The record of a head's training: its rows, its parameters and its figures.

    Attributes:
        parameters: hyper-parameters of the estimator.
        encoders: the encoders that the head reads, with their columns, in order.
        snapshot: versions of the tables that the head was trained on.
        training_ids: digest of the asset ids of the training rows, see `ids_digest`.
        counts: number of training rows of every class, in the order of the classes.
        metrics: split → metric → value.
        conformal: nonconformity scores for prediction sets; empty if there were no validation rows. Before protocol 3:
            coverage → lowest probability in the prediction set.
        outlier: quantiles of the validation rows' outlier scores (before protocol 3: of their log density), smallest
            first; empty if the head has no outlier score.
        packages: versions of the packages that made the head.
    """

    parameters: dict[str, JsonValue]
    task: Name
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
        if stop > MOST_COLUMNS:
            raise ValueError(f"{stop} columns, at most {MOST_COLUMNS} are read")
        return self

    @property
    def dim(self) -> int:
        """Width of the vectors: the columns of all encoders."""
        return self.encoders[-1].columns[1]


def ids_digest(ids: Sequence[str], hashes: Hashes | None = None) -> str:
    """Return the sha256 over the sorted ids, each followed by a newline. The order of the rows has no influence.

    Args:
        hashes: result of `sorted_hashes` for these ids, if the caller has it.
    """
    hashes = sorted_hashes(ids) if hashes is None else hashes
    if hashes is None:
        return hashlib.sha256("\n".join([*sorted(ids), ""]).encode()).hexdigest()
    digits = 2 * hashes.shape[1]
    lines = np.full((len(hashes), digits + 1), ord("\n"), np.uint8)
    lines[:, :-1] = np.frombuffer(hexlify(hashes.tobytes()), np.uint8).reshape(-1, digits)
    return hashlib.sha256(lines.data).hexdigest()


class Manifest(TrainingRecord):
    """A training record, and the kind, classes, arrays and file digests of the head."""

    protocol: Literal[1, 2, 3] = 3
    kind: str
    classes: tuple[Name, ...] = Field(min_length=2)
    temperature: float = Field(ge=1e-6, le=1e6)
    settings: dict[str, JsonValue]
    arrays: dict[str, ArrayShape]
    files: dict[FileName, Sha256] = Field(max_length=MOST_FILES)

    @model_validator(mode="after")
    def _one_name_per_class(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes repeat")
        if len(self.counts) != len(self.classes):
            raise ValueError(f"{len(self.counts)} counts for {len(self.classes)} classes")
        return self

    def digest(self) -> str:
        """Return 12 hex digits of the sha256 of all content: everything but the time and the snapshot.

        Two heads trained on the same rows from two snapshots have the same content.
        """
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"created_at", "snapshot"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def version(self) -> str:
        """Return the UTC time to the millisecond and the digest, e.g. ``20260102T030405678Z-0123456789ab``."""
        return f"{version_time(self.created_at.astimezone(UTC))}Z-{self.digest()}"


def version_time(time: datetime) -> str:
    """Return the time at the start of a version, to the millisecond, e.g. ``20260102T030405678``."""
    return f"{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03d}"


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = ((package, _version(package)) for package in packages)
    return {package: own for package, own in found if own is not None}


@cache  # the metadata of a package is a long text, and stays the same while a process runs
def _version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed, e.g. headwater run from a checkout."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
