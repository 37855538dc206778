"""The bodies of the requests and answers about jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, RootModel, StringConstraints

from classifiers.names import NAME
from embedder.spec import Modality
from services.web.schemas.common import MOST_NAME, Body

HeadKind = Literal["gaussian", "fusion", "mixture", "linear", "zeroshot", "labelwise", "bilinear", "bank", "decoder"]
"""The kinds of heads. Written out, because `classifiers.training`, which defines them, imports scikit-learn."""

MOST_ENCODERS = 16
MOST_PARAMETERS = 32
LONGEST_PATH = 1000

Required = Annotated[str, StringConstraints(min_length=1, max_length=MOST_NAME)]
HeadName = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
Place = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_PATH, pattern=r"^[^\x00]*$")]
Encoders = Annotated[list[Required], Field(max_length=MOST_ENCODERS)]


def _whole(value: object) -> object:
    """Return an integer for a number such as 5.0, which is one in JSON schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Seed = Annotated[
    int, Field(ge=0, le=2**31 - 1, description="Seed of the random number generator."), BeforeValidator(_whole)
]
TopK = Annotated[int, Field(ge=1, le=1000, description="How many labels are ranked."), BeforeValidator(_whole)]
Count = Annotated[int, Field(ge=1, le=10_000, description="How many assets are suggested."), BeforeValidator(_whole)]
Clusters = Annotated[int, Field(ge=2, le=1_000_000), BeforeValidator(_whole)]
Nearest = Annotated[
    int,
    Field(ge=1, le=1000, description="How many of its nearest clusters become labels of an asset."),
    BeforeValidator(_whole),
]
Number = (
    bool
    | Annotated[int, Field(ge=-(2**53), le=2**53)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, StringConstraints(max_length=MOST_NAME)]
)
Parameter = Number | Annotated[list[Number], Field(max_length=256)]

_TASK = "The task whose labels the heads learn."
_ENCODERS = "Encoders whose stored vectors are used, by name or fingerprint."
_ONE_ENCODER = "The encoder whose stored vectors are used, by name or fingerprint."
_HEAD = "name, name@alias or name@version of a head."
_FOLDER = "A folder below one of HEADWATER_JOB_FOLDERS: its whole path, or the part below that folder."


class IngestJob(Body):
    """Store the files of a folder, and their labels under a task."""

    kind: Literal["ingest"]
    folder: Place = Field(description=_FOLDER)
    task: Required | None = Field(None, description="The task of the labels. Without it, no label is stored.")
    labels_file: Place | None = Field(
        None, description="A table of labels or an export of an annotation tool, below the same folders; needs `task`."
    )
    group: Required | None = Field(
        None,
        description="The column of `labels_file`, or of Parquet files, with the speaker, patient, site or camera of "
        "each row: rows of one group are never in two folds. It needs `task`.",
    )
    on_conflict: Literal["error", "first", "last", "both"] = Field(
        "error", description="What to do if the same content has different labels or splits."
    )
    modality: Modality | None = Field(None, description="Modality of files that do not show it themselves.")
    reference: bool = Field(False, description="Store the path of each file, not its bytes.")


class BackfillJob(Body):
    """Embed every stored asset that has no vector of this encoder yet."""

    kind: Literal["backfill"]
    encoder: Required = Field("lite0", description="One of HEADWATER_ENCODERS, or an encoder with stored vectors.")
    tokens: bool = Field(False, description="Store the patch tokens of images too.")
    retry_quarantined: bool = Field(False, description="Try again the assets that failed before.")


class TrainJob(Body):
    """Train a head on stored vectors. It becomes the latest version of its name."""

    kind: Literal["train"]
    task: Required = Field(description=_TASK)
    name: HeadName = Field(description="Name of the head: 1 to 64 letters, digits, `_` and `-`, no `_` or `-` first.")
    encoders: Encoders = Field(["lite0"], min_length=1, description=_ENCODERS)
    head_kind: HeadKind = Field("gaussian", description="The kind of head.")
    parameters: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], Parameter] = Field(
        {},
        max_length=MOST_PARAMETERS,
        description="Hyper-parameters, by name.",
        json_schema_extra={"additionalProperties": False},
    )
    seed: Seed = 0


class CompareJob(Body):
    """Train many heads on the same vectors and rank them on the validation rows. Nothing is published."""

    kind: Literal["compare"]
    task: Required = Field(description=_TASK)
    encoders: Encoders = Field([], description=f"{_ENCODERS} None: all that have vectors of the training rows.")
    head_kinds: list[HeadKind] = Field([], max_length=16, description="Kinds of heads to try. None: all.")
    seed: Seed = 0


class PredictJob(Body):
    """Write a head's answers for every stored asset, or for the files of a folder, to a file."""

    kind: Literal["predict"]
    head: Required = Field(description=_HEAD)
    task: Required | None = Field(None, description="Only assets that this task labels; its labels are the truth.")
    folder: Place | None = Field(
        None, description=f"{_FOLDER} Without it, stored assets are predicted; not with `task`."
    )
    format: Literal["parquet", "csv", "jsonl"] = Field("parquet", description="Kind of the file.")
    top_k: TopK = 5
    coverage: float = Field(0.9, gt=0, lt=1, description="Probability that the prediction set contains the true class.")
    sets: Literal["lac", "aps"] = Field("lac", description="Method of the prediction set.")


class DuplicatesJob(Body):
    """List pairs of stored assets whose vectors are almost equal."""

    kind: Literal["duplicates"]
    encoder: Required = Field("lite0", description=_ONE_ENCODER)
    task: Required | None = Field(
        None, description="Only assets that this task labels; pairs across its splits come first."
    )
    threshold: float | None = Field(
        None, gt=0, le=1, description="Cosine from which two vectors count as near-duplicates; null to propose one."
    )


class MistakesJob(Body):
    """List labelled assets whose label and head disagree, those that are most likely wrong first."""

    kind: Literal["mistakes"]
    head: Required = Field(description=_HEAD)
    task: Required | None = Field(None, description="The task whose labels are judged; null for the head's own.")


class LearningCurveJob(Body):
    """Measure heads like one that exists on parts of its training rows: what would more labels bring?"""

    kind: Literal["learning-curve"]
    head: Required = Field(description=_HEAD)
    seed: Seed = 0


class SuggestJob(Body):
    """Suggest which stored assets to label next: those from which a head learns most."""

    kind: Literal["suggest"]
    head: Required | None = Field(
        None, description="name, name@alias or name@version of the head whose uncertainty counts; without it, `task`."
    )
    task: Required | None = Field(
        None, description="The task that lacks labels; it may be a new one. Null for the head's own."
    )
    encoder: Required = Field("lite0", description=f"{_ONE_ENCODER} A head reads its own.")
    count: Count = 20
    seed: Seed = 0


class ClusterJob(Body):
    """Cluster stored vectors without labels. The nearest clusters of every asset become its labels of a new task."""

    kind: Literal["cluster"]
    task: HeadName = Field(description="Name of the task that gets the clusters as labels.")
    encoder: Required = Field("lite0", description=_ONE_ENCODER)
    clusters: Clusters | None = Field(None, description="Number of clusters; null to choose one by the number of rows.")
    nearest: Nearest = 8
    delta: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Drop nearest clusters whose cosine is more than this below that of the nearest one.",
    )
    rows_of: Required | None = Field(None, description="Only assets that this task labels. Its labels are not read.")
    against: Required | None = Field(
        None, description="A task whose labels are compared with the clusters. Nothing is learned from them."
    )
    seed: Seed = 0


AnyJob = (
    IngestJob
    | BackfillJob
    | TrainJob
    | CompareJob
    | LearningCurveJob
    | PredictJob
    | DuplicatesJob
    | MistakesJob
    | SuggestJob
    | ClusterJob
)


class JobRequest(RootModel[Annotated[AnyJob, Field(discriminator="kind")]]):
    """The work of a job. `kind` says which fields it has."""


class JobProgressBody(BaseModel):
    """How far a job is."""

    done: int = Field(description="Number of finished items, failed ones included.")
    total: int | None = Field(description="Number of all items; null while it is unknown.")
    note: str = Field(description="A few words beside the numbers.")


class JobStatus(BaseModel):
    """One job."""

    id: str = Field(description="Id of the job.")
    kind: str = Field(description="Kind of the job.")
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"] = Field(
        description="`interrupted`: the service ended while the job ran. Start the job again; finished work is kept."
    )
    position: int | None = Field(None, description="Place in the queue, 1 for the next one; null if it does not wait.")
    cancelling: bool = Field(False, description="True if the job was asked to stop and has not ended yet.")
    created: datetime = Field(description="Time of the request.")
    started: datetime | None = Field(None, description="Time at which its process started.")
    ended: datetime | None = Field(None, description="Time at which it ended.")
    progress: JobProgressBody | None = Field(
        None, description="How far it is; null before the first report, and for training, which reports none."
    )
    partial: bool = Field(False, description="True if the job is done but had to leave some items out.")
    error: str | None = Field(None, description="Why it failed or was interrupted.")


class JobDetails(JobStatus):
    """One job, with what was asked for and what it made."""

    request: Mapping[str, Any] = Field(description="The request that started it.")
    log: list[str] = Field(description="The last lines of its log.")
    result: dict[str, Any] | None = Field(
        None, description="What it made, such as the name and version of a head; null before it is done."
    )
    file: str | None = Field(None, description="Name of the file of `GET /v1/jobs/{job_id}/result`; null if none.")


class JobsResponse(BaseModel):
    """Some of the jobs."""

    count: int = Field(description="Number of all jobs.")
    jobs: list[JobStatus] = Field(description="The newest first.")
