"""The bodies that both services have: problems, and the base of all requests."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from store import SPLITS

MOST_NAME = 300
"""Largest number of characters of a name in a request: a head with its version, an encoder with its path, a task."""

Name = Annotated[str, StringConstraints(max_length=MOST_NAME)]

SplitName = Annotated[Name, Field(json_schema_extra={"enum": list(SPLITS)})]
"""The name of a split. The store refuses every other name, with the code `bad_split`."""


def _whole(given: object) -> object:
    return int(given) if isinstance(given, float) and given.is_integer() else given


WHOLE = BeforeValidator(_whole)
"""Takes `5.0` as 5. JSON has one type of numbers: both are the same integer in JSON Schema, and in JavaScript."""

Whole = Annotated[int, Field(strict=True), WHOLE]


class Body(BaseModel):
    """The body of a request. Unknown fields are refused: a misspelt option must not be ignored in silence.

    Values of other types are refused too: a text "true" is no boolean.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """The error of one item or of a request."""

    code: str = Field(description="Name of the error, for programs.")
    message: str = Field(description="What happened and what to do, for people.")


class ProblemOfRequest(Problem):
    """The error of a whole request."""

    request_id: str = Field(description="Id of the request, which the log of the service shows too.")


class ErrorBody(BaseModel):
    """The answer to a request that failed as a whole."""

    error: ProblemOfRequest


class ReadyBody(BaseModel):
    """The answer of a service that is ready, with details that depend on the service."""

    model_config = ConfigDict(extra="allow")

    ready: Literal[True]


class NotReadyBody(BaseModel):
    """The answer of a service that is not ready: what is missing, or why it cannot start."""

    ready: Literal[False]
    reason: str | None = Field(None, description="Classification service: what is missing.")
    failure: str | None = Field(None, description="Embedding service: why an encoder could not be loaded.")


def inline_schema(body: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of `body` without references, for a place in the OpenAPI document where none can be used.

    Pydantic collects the schemas of nested models under ``$defs``. Its references to them would be looked up at the
    root of the document, where there is no ``$defs``.
    """
    schema = body.model_json_schema()
    nested = schema.pop("$defs", {})

    def inlined(part: Any) -> Any:
        if isinstance(part, dict):
            found = nested[part["$ref"].rpartition("/")[2]] if "$ref" in part else part
            return {key: inlined(value) for key, value in found.items()}
        return [inlined(each) for each in part] if isinstance(part, list) else part

    document: dict[str, Any] = inlined(schema)
    return document
