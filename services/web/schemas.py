"""The bodies of requests and answers, as both services and the client speak them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Body(BaseModel):
    """A request body: unknown fields are refused, because a misspelt option would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What went wrong: a code for programs, a sentence for people."""

    code: str
    message: str


class ProblemOfRequest(Problem):
    request_id: str


class ErrorBody(BaseModel):
    error: ProblemOfRequest


class EncoderInfo(BaseModel):
    name: str
    fingerprint: str
    dim: int
    backend: str
    text: bool
    tokens: tuple[int, int] | None


class EmbeddedItem(BaseModel):
    """One image or text: its vector, or why there is none."""

    id: str | None = Field(None, description="sha256 of the bytes, for images")
    name: str | None = Field(None, description="the file's name, as it was sent")
    vector: list[float] | None = None
    error: Problem | None = None


class EmbedResponse(BaseModel):
    encoder: str
    fingerprint: str
    items: list[EmbeddedItem]


class OpenAIRequest(BaseModel):
    """OpenAI's embeddings request; fields that have no meaning here (`user`, …) are accepted and ignored."""

    model: str = "lite0"
    input: str | Annotated[list[str], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] = "float"


class OpenAIItem(BaseModel):
    object: Literal["embedding", "error"] = "embedding"
    index: int
    embedding: list[float] | str = Field([], description="floats, or base64 of little-endian float32")
    error: Problem | None = None


class OpenAIUsage(BaseModel):
    prompt_tokens: int = 0
    total_tokens: int = 0


class OpenAIResponse(BaseModel):
    object: Literal["list"] = "list"
    model: str
    data: list[OpenAIItem]
    usage: OpenAIUsage = OpenAIUsage()


class StoredItem(BaseModel):
    """One asset that was sent to be stored: its id, and whether its vector is stored too."""

    id: str | None = None
    name: str | None = None
    error: Problem | None = None


class AssetsResponse(BaseModel):
    new: int
    known: int
    items: list[StoredItem]


class BackfillRequest(Body):
    encoder: str = "lite0"
    tokens: bool = False
    retry_quarantined: bool = False


class BackfillStatus(BaseModel):
    id: str
    state: Literal["running", "done", "failed"]
    encoder: str
    done: int
    total: int
    quarantined: int
    seconds: float
    error: str | None = None


class Base64Image(Body):
    base64: str  # decoded item by item, so that a broken one fails alone
    name: str | None = None


class ClassifyBody(Body):
    """Exactly one of `images`, `ids`, `vectors`."""

    images: list[Base64Image] | None = None
    ids: list[str] | None = None
    vectors: list[list[float]] | None = None
    encoder: str | None = Field(None, description="with `vectors`: name or fingerprint of their encoder")

    @model_validator(mode="after")
    def _one_source(self) -> "ClassifyBody":
        given = [name for name in ("images", "ids", "vectors") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of images, ids, vectors; got {given or 'none'}")
        if (self.encoder is None) == (self.vectors is not None):
            raise ValueError("encoder goes with vectors, and vectors with encoder")
        return self


class Ranked(BaseModel):
    label: str
    probability: float


class PredictionSet(BaseModel):
    """The labels that contain the right one with probability `coverage`, if the data are like validation's."""

    labels: list[str]
    coverage: float


class HeadAnswer(BaseModel):
    head: str
    version: str
    label: str
    probability: float
    top_k: list[Ranked]
    labels: list[Ranked] | None = Field(
        None, description="of a head that gives any number of labels: those that reach their threshold"
    )
    prediction_set: PredictionSet | None = None
    outlier_percentile: float | None = Field(
        None, description="percentage of validation vectors that look more ordinary than this one"
    )
    abstained: bool | None = Field(
        None, description="with min_probability or max_outlier: whether the label should not be used"
    )
    abstained_for: list[Literal["low_probability", "outlier", "no_outlier_score"]] | None = Field(
        None, description="why it should not"
    )
    missing_encoders: list[str] | None = Field(
        None, description="encoders of a fused head whose vectors were not there; it answered from the others"
    )
    accuracy_lost: float | None = Field(None, description="without them, as measured when the head was trained")
    asked_encoders: list[str] | None = Field(
        None, description="of a cascade that was sure before its last encoder: those that it asked"
    )


class ClassifiedItem(BaseModel):
    id: str | None = None
    name: str | None = None
    answers: list[HeadAnswer] = []
    error: Problem | None = None


class ClassifyResponse(BaseModel):
    items: list[ClassifiedItem]


class HeadInfo(BaseModel):
    name: str
    versions: list[str]
    aliases: dict[str, str]
    kind: str
    task: str
    classes: list[str]
    encoders: list[str]


class HeadsResponse(BaseModel):
    heads: list[HeadInfo]
    refused: dict[str, str] = Field(description="heads that were not loaded, with the reason")


class AliasRequest(Body):
    alias: str
    version: str


class Hit(BaseModel):
    id: str
    score: float
    uri: str | None = None


class SearchResponse(BaseModel):
    encoder: str
    hits: list[Hit]
