"""The bodies of the Open Inference Protocol (KServe's version 2), for heads."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.web.schemas.common import WHOLE, Body, Name

Parameters = dict[str, str | bool | int | float]
Datatype = Literal["FP32", "FP64", "BYTES"]
Size = Annotated[int, Field(strict=True, ge=0), WHOLE]
OUTPUTS = ("label", "probability", "probabilities")


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str = Field(description="Name of the service.")
    version: str = Field(description="Version of Headwater.")
    extensions: list[str] = Field([], description="None: tensors are sent as JSON.")


class Live(BaseModel):
    """The answer of a process that runs."""

    live: Literal[True] = True


class Ready(BaseModel):
    """True if a head, or the server, can answer."""

    name: str = Field(description="Name of the head, or of the server.")
    ready: bool = Field(description="True if it can answer.")


class TensorMetadata(BaseModel):
    """An input or an output of a head."""

    name: str = Field(description="`image` or `vector`; `label`, `probability` or `probabilities`.")
    datatype: Datatype = Field(description="BYTES for files and labels, FP32 for numbers.")
    shape: list[int] = Field(description="-1 is any number: the number of items.")
    parameters: dict[str, Any] | None = Field(None, description="For `vector`: the name of its encoder.")


class ModelMetadata(BaseModel):
    """A head as the protocol describes a model."""

    name: str = Field(description="Name of the head.")
    versions: list[str] = Field(description="All versions.")
    platform: str = Field(description="`headwater_` and the kind of the head.")
    inputs: list[TensorMetadata] = Field(description="What the head takes: one of these inputs in a request.")
    outputs: list[TensorMetadata] = Field(description="What a request may ask for.")
    parameters: dict[str, Any] = Field(description="`classes`: the labels, in the order of `probabilities`.")


class InferInput(Body):
    """The items of a request."""

    name: Literal["image", "vector"] = Field(description="What the items are.")
    datatype: Datatype = Field(description="BYTES for `image`, FP32 or FP64 for `vector`.")
    shape: list[Size] = Field(min_length=1, max_length=2, description="Number of items, and the length of a vector.")
    data: Annotated[list[Any], Field(fail_fast=True)] = Field(
        description="`image`: files as base64 or data URIs. `vector`: numbers, row after row, or a list for each row."
    )
    parameters: Parameters | None = Field(
        None, description="`encoder`: for `vector`, the name or fingerprint of its encoder, if the head reads several."
    )


class InferOutput(Body):
    """An output that is asked for."""

    name: Literal["label", "probability", "probabilities"] = Field(description="Name of the output.")
    parameters: Parameters | None = Field(None, description="Ignored: answers are JSON.")


class InferRequest(Body):
    """The items to classify: files, or vectors."""

    id: Name | None = Field(None, description="The answer repeats it.")
    parameters: Parameters | None = Field(None, description="Ignored.")
    inputs: list[InferInput] = Field(min_length=1, max_length=1, description="`image` or `vector`.")
    outputs: list[InferOutput] | None = Field(
        None, max_length=len(OUTPUTS), description="`label` and `probability` if it is missing."
    )

    def query(self) -> dict[str, list[str]]:
        """Return nothing: no parameter of the query may be in this body."""
        return {}


class OutputTensor(BaseModel):
    """One output for all items."""

    name: str = Field(description="Name of the output.")
    datatype: Datatype = Field(description="BYTES for labels, FP32 for numbers.")
    shape: list[int] = Field(description="Number of items; for `probabilities` also that of classes.")
    data: list[Any] = Field(description="Row after row.")


class InferResponse(BaseModel):
    """The answer of a head for all items."""

    id: str | None = Field(None, description="The id of the request.")
    model_name: str = Field(description="Name of the head.")
    model_version: str = Field(description="Version that answered.")
    outputs: list[OutputTensor] = Field(description="The outputs that were asked for, in that order.")
