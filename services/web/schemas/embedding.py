"""The bodies of the requests and answers of the embedding service."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from embedder.spec import Modality
from services.web.schemas.common import Body, Name, Problem, Whole


class EncoderInfo(BaseModel):
    """One encoder of the embedding service. What only a loaded encoder has is null until it is loaded."""

    name: str
    state: Literal["loading", "ready", "failed", "unloaded"] = Field(
        description="`ready`: it answers. `failed`: see `failure`; `POST /v1/encoders` tries again. `unloaded`: it was "
        "not used, or another one needed its memory; the next request for it loads it again."
    )
    failure: str | None = Field(None, description="Why it could not be loaded, and what the operator can do.")
    fingerprint: str | None = Field(
        None,
        description="Digest of everything that determines the encoder's vectors. Vectors can be compared only if their "
        "fingerprints are equal.",
    )
    dim: int | None = Field(None, description="Length of a vector.")
    modalities: tuple[Modality, ...] = Field((), description="What the encoder embeds, besides text.")
    backend: str | None = Field(
        None, description="Inference engine and precision that run the encoder here, such as `openvino-fp32`."
    )
    text: bool = Field(False, description="True if the encoder embeds texts too, into the same space.")
    tokens: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Number of tokens of an image and length of each; null if the encoder has none. Tokens are vectors "
        "of the parts of an image.",
    )
    device: str | None = Field(None, description="Device that runs the encoder, such as `cpu` or `cuda`.")
    precision: str | None = Field(None, description="Precision in which it computes, such as `fp32` or `bf16`.")
    bytes: int = Field(
        0, description="Memory that it holds on its device. On a CPU, what the process grew by when it was loaded."
    )
    items_per_second: float = Field(0.0, description="Files that it embedded in a second, over the last minute.")
    waiting: int = Field(0, description="Files and texts that are decoded or wait for it.")
    idle_seconds: float = Field(0.0, description="Seconds since the last request for it.")


class EncoderRequest(Body):
    """An encoder to load."""

    name: Name = Field(min_length=1, description="Name of the encoder, such as `lite1`.")


class EmbeddedItem(BaseModel):
    """One file: its vector, or the reason why there is none."""

    id: str | None = Field(None, description="SHA-256 of the file's bytes.")
    name: str | None = Field(None, description="Name of the file, as it was sent.")
    vector: list[float] | None = Field(None, description="The vector; missing if the file could not be embedded.")
    error: Problem | None = Field(None, description="Why there is no vector.")


class EmbedResponse(BaseModel):
    """The vectors of the files of a request."""

    encoder: str = Field(description="Name of the encoder.")
    fingerprint: str = Field(description="Digest of everything that determines the encoder's vectors.")
    items: list[EmbeddedItem] = Field(description="One item for each file, in the order of the request.")


NO_TEXTS = (
    "these are token ids of another model's tokenizer, and the encoders here read texts; with LangChain, set "
    "OpenAIEmbeddings(check_embedding_ctx_length=False), which sends texts"
)


class OpenAIRequest(BaseModel):
    """The embeddings request of OpenAI's API."""

    model_config = ConfigDict(extra="forbid")

    model: Name = Field("lite0", description="Name or fingerprint of a loaded encoder.")
    input: str | Annotated[list[str], Field(min_length=1, fail_fast=True)] = Field(
        description="One or more texts, or one or more files as data URIs (`data:image/jpeg;base64,…`)."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="Vectors as lists of numbers, or as base64 of little-endian float32."
    )
    dimensions: Whole | None = Field(
        None,
        description="Length of the vectors. An encoder has one length only; any other is refused, because a shortened "
        "vector has a meaning only for encoders that were trained for it (Matryoshka).",
    )

    user: str | None = Field(None, description="Ignored. OpenAI's clients may send it.")

    @field_validator("input", mode="before")
    @classmethod
    def _no_token_ids(cls, given: object) -> object:
        """Refuse the token ids that some clients send instead of texts."""
        first = next(iter(given), None) if isinstance(given, list) else None
        if isinstance(first, int | list):
            raise ValueError(NO_TEXTS)
        return given

    @field_validator("model", "input")
    @classmethod
    def _of_characters(cls, given: str | list[str]) -> str | list[str]:
        """Refuse half surrogate pairs, which JSON can hold and UTF-8 cannot."""
        try:
            for text in [given] if isinstance(given, str) else given:
                text.encode()
        except UnicodeEncodeError:
            raise ValueError("a text has half a surrogate pair, which is no character") from None
        return given


class OpenAIItem(BaseModel):
    """The vector of one text or file."""

    object: Literal["embedding", "error"] = Field("embedding", description="`error` if there is no vector.")
    index: int = Field(description="Position in `input`.")
    embedding: list[float] | str = Field([], description="A list of numbers, or base64 of little-endian float32.")
    error: Problem | None = Field(None, description="Why there is no vector.")


class OpenAIUsage(BaseModel):
    """Always 0. OpenAI's clients expect the fields."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class OpenAIResponse(BaseModel):
    """The embeddings answer of OpenAI's API."""

    object: Literal["list"] = "list"
    model: str = Field(description="Name of the encoder.")
    data: list[OpenAIItem] = Field(description="One item for each text or file, in the order of `input`.")
    usage: OpenAIUsage = OpenAIUsage()


class OpenAIModel(BaseModel):
    """An encoder, as OpenAI's API lists a model."""

    id: str = Field(description="Name of the encoder.")
    object: Literal["model"] = "model"
    created: int = Field(0, description="Always 0. OpenAI's clients expect the field.")
    owned_by: str = Field("headwater", description="Always `headwater`.")


class OpenAIModels(BaseModel):
    """The encoders that are loaded, as OpenAI's API lists models."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel] = Field(description="One item for each encoder.")


class StoredItem(BaseModel):
    """One file that was sent to be stored."""

    id: str | None = Field(None, description="Id of the asset: SHA-256 of the file's bytes.")
    name: str | None = Field(None, description="Name of the file, as it was sent.")
    status: Literal["stored", "known", "refused"] = Field(
        description="`stored`: new in the store. `known`: it was there already; its vector and labels are stored too. "
        "`refused`: nothing of it was stored, see `error`."
    )
    error: Problem | None = Field(None, description="Why the file was refused.")


class AssetsResponse(BaseModel):
    """The result of storing files. An asset is a stored file, known by the digest of its bytes."""

    new: int = Field(description="Number of assets that were not in the store before.")
    known: int = Field(description="Number of assets that were in the store already.")
    items: list[StoredItem] = Field(description="One item for each file, in the order of the request.")


class BackfillRequest(Body):
    """A backfill embeds every stored asset that has no vector of the encoder yet."""

    encoder: Name = Field("lite0", description="Name or fingerprint of a loaded encoder.")
    tokens: bool = Field(
        False,
        description="Store the tokens of images too: the vectors of their parts, which heads like `decoder` read.",
    )
    retry_quarantined: bool = Field(
        False, description="Try assets again that failed before. Failed assets are in quarantine and are skipped."
    )


class BackfillStatus(BaseModel):
    """The progress of a backfill."""

    id: str = Field(description="Id of the backfill, for `GET /v1/backfills/{id}`.")
    state: Literal["queued", "running", "done", "failed"]
    position: int | None = Field(
        None, description="Only for a queued backfill: its place in the queue; 1 is started next."
    )
    encoder: str = Field(description="Name of the encoder.")
    done: int = Field(description="Number of these assets that have their vector now.")
    total: int = Field(description="Number of assets that had no vector when the backfill started.")
    quarantined: int = Field(description="Number of assets that could not be embedded, and are in quarantine now.")
    seconds: float = Field(description="Time since the backfill started.")
    error: str | None = Field(None, description="Why the backfill failed.")


class BackfillsResponse(BaseModel):
    """The backfills that this process has accepted. The oldest finished ones are forgotten."""

    backfills: list[BackfillStatus] = Field(description="One item for each backfill, the oldest first.")
