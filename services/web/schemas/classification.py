"""The bodies of the requests and answers of the classification service."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict

from services.web.schemas.common import Body, Name, Problem, Whole

MOST_LABEL = 100
"""Maximum number of characters of a label in a request."""

_EDGE = r"[^,\s\x1c-\x1f\x85]"
LABELS = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {
        "type": "string",
        "minLength": 1,
        "maxLength": MOST_LABEL,
        "pattern": f"^{_EDGE}([^,]*{_EDGE})?$",
    },
}
"""Schema of a list of labels in one parameter, separated by commas. Spaces around a label are not part of it."""


def _null(*names: str) -> JsonDict:
    return {name: {"type": "null"} for name in names}


def _source(**given: str) -> JsonDict:
    """Return the JSON schema of a body with the fields `given`, by their types, and no other field of `SOURCES`."""
    properties: JsonDict = {name: {"type": given.get(name, "null")} for name in SOURCES}
    return {"required": list(given), "properties": properties}


SOURCES = ("image", "images", "ids", "vectors", "encoder")
ONE_SOURCE: JsonDict = {
    "oneOf": [
        {
            "required": ["image"],
            "properties": {"image": {"type": ["object", "string"]}, **_null("images", "ids", "vectors", "encoder")},
        },
        _source(images="array"),
        _source(ids="array"),
        _source(vectors="array", encoder="string"),
    ]
}
"""The rule of `ClassifyBody._one_source`, as JSON schema."""


class Base64Image(Body):
    """One file as base64. Despite the name it may be a sound or a video too."""

    base64: str = Field(description="The bytes of the file as base64, or as a data URI.")  # decoded item by item
    name: str | None = Field(None, description="Name of the file, which the answer repeats.")


File = Base64Image | str
"""A file in JSON: an object, or its bytes as base64 or as a data URI."""


_PARAMETER = "The parameter of the query of this name."


class ClassifyBody(Body):
    """The items to classify: exactly one of `image`, `images`, `ids` and `vectors`.

    The parameters of the query may be here instead.
    """

    model_config = ConfigDict(json_schema_extra=ONE_SOURCE)

    image: File | None = Field(None, description="One file, as in `images`.")
    images: Annotated[list[File], Field(fail_fast=True)] | None = Field(
        None,
        description="Files: images, sounds or videos, each as base64, as a data URI, or as an object with `base64`.",
    )
    ids: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None, description="Ids of stored assets. Their stored vectors are read."
    )
    vectors: Annotated[list[Annotated[list[float], Field(fail_fast=True)]], Field(fail_fast=True)] | None = Field(
        None, description="Vectors of the encoder that `encoder` names."
    )
    encoder: Name | None = Field(None, description="With `vectors`: name or fingerprint of their encoder.")

    # Parameters. Their rules are those of the query.
    head: Name | list[Name] | None = Field(None, description=_PARAMETER)
    top_k: Whole | None = Field(None, description=_PARAMETER)
    coverage: float | None = Field(None, description=_PARAMETER)
    sets: str | None = Field(None, description=_PARAMETER)
    min_probability: float | None = Field(None, description=_PARAMETER)
    max_outlier: float | None = Field(None, description=_PARAMETER)
    labels: list[Annotated[str, StringConstraints(pattern="^[^,]*$")]] | None = Field(None, description=_PARAMETER)
    modality: str | None = Field(None, description=_PARAMETER)

    @model_validator(mode="after")
    def _one_source(self) -> "ClassifyBody":
        given = [name for name in ("image", "images", "ids", "vectors") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of image, images, ids, vectors; got {' and '.join(given) or 'none'}")
        if (self.encoder is None) == (self.vectors is not None):
            raise ValueError("encoder and vectors go together: give both, or neither")
        return self

    @property
    def files(self) -> list[Base64Image] | None:
        """The files of `image` or `images`; None if there is neither."""
        given = [self.image] if self.image is not None else self.images
        if given is None:
            return None
        return [Base64Image.model_construct(base64=each) if isinstance(each, str) else each for each in given]

    @property
    def count(self) -> int:
        """Number of items."""
        return len(self.files or self.ids or self.vectors or ())

    def query(self) -> dict[str, list[str]]:
        """Return each parameter that the body gives, as the values that a query would have."""
        given = {name: getattr(self, name) for name in PARAMETERS}
        texts = {name: _texts(value) for name, value in given.items() if value is not None}
        return {name: [",".join(values)] if name == "labels" else values for name, values in texts.items() if values}


PARAMETERS = tuple(name for name in ClassifyBody.model_fields if name not in SOURCES)
"""The parameters that a body may have."""


def _texts(value: object) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value])]


class Ranked(BaseModel):
    """One label with its probability."""

    label: str
    probability: float


class PredictionSet(BaseModel):
    """A set of labels that contains the right one with the probability `coverage`.

    This holds for items that are like those that the head was calibrated on. The less sure a head is, the larger the
    set.
    """

    labels: list[str] = Field(description="The labels of the set. The most probable label is always in it.")
    coverage: float = Field(description="Probability that the set contains the right label, as given in the request.")


class HeadAnswer(BaseModel):
    """The answer of one head for one item."""

    head: str = Field(description="Name of the head.")
    version: str = Field(description="Version of the head that answered.")
    label: str = Field(description="The most probable label, even if the head abstains.")
    probability: float = Field(
        description="Calibrated probability of the label: of all answers with 0.8, about 80 % are right."
    )
    top_k: list[Ranked] = Field(description="The most probable labels; `top_k` sets their number.")
    labels: list[Ranked] | None = Field(
        None,
        description="Only for heads that give any number of labels: the labels whose probability reaches their "
        "threshold, most probable first. The list may be empty.",
    )
    prediction_set: PredictionSet | None = Field(
        None, description="Missing for heads that give any number of labels, and for heads without validation rows."
    )
    outlier_percentile: float | None = Field(
        None,
        description="How unusual the item is: the percentage of calibration rows that look more ordinary to the head. "
        "Near 100, hardly any calibration row looks as unusual: the item may belong to none of the classes "
        "(out-of-distribution).",
    )
    abstained: bool | None = Field(
        None,
        description="Only with `min_probability` or `max_outlier`: true if the head abstains: its label should not be "
        "used.",
    )
    abstained_for: list[Literal["low_probability", "outlier", "no_outlier_score"]] | None = Field(
        None,
        description="Why the head abstains: the probability is below `min_probability`, the outlier percentile is "
        "above `max_outlier`, or there is no outlier percentile to compare.",
    )
    missing_encoders: list[str] | None = Field(
        None,
        description="Only for heads that read several encoders: the encoders that had no vector of the item. The head "
        "answered from the others.",
    )
    accuracy_lost: float | None = Field(
        None, description="Accuracy that the head loses without the missing encoders, measured when it was trained."
    )
    asked_encoders: list[str] | None = Field(
        None,
        description="Only for cascades, which use cheap encoders first and expensive ones only if they are uncertain: "
        "the encoders that were used, if not all were.",
    )


class ClassifiedItem(BaseModel):
    """The answers for one item of the request."""

    id: str | None = Field(None, description="SHA-256 of the file's bytes, or the id in the request.")
    name: str | None = Field(None, description="Name of the file, as it was sent.")
    answers: list[HeadAnswer] = Field([], description="One answer for each head that could answer.")
    error: Problem | None = Field(None, description="Why a head could not answer.")


class ClassifyResponse(BaseModel):
    """The answers for all items of the request."""

    items: list[ClassifiedItem] = Field(
        description="One item for each file, id or vector, in the order of the request."
    )


class HeadInfo(BaseModel):
    """One head that can answer."""

    name: str
    versions: list[str] = Field(description="All versions.")
    aliases: dict[str, str] = Field(description="Alias → the version that it points at.")
    kind: str = Field(description="How the head decides, such as `linear` or `gaussian`.")
    task: str = Field(description="Name of the labels that the head was trained on.")
    classes: list[str] = Field(description="The labels that the head knows.")
    encoders: list[str] = Field(description="Names of the encoders whose vectors the head reads.")


class HeadsResponse(BaseModel):
    """The heads of the service."""

    heads: list[HeadInfo]
    refused: dict[str, str] = Field(description="Name of each head that was not loaded → the reason.")


class AliasRequest(Body):
    """The version that an alias is to point at."""

    alias: Name
    version: Name


class Hit(BaseModel):
    """One stored asset that a search found."""

    id: str = Field(description="Id of the asset.")
    score: float = Field(description="Cosine similarity, from -1 to 1. A higher score is nearer.")
    uri: str | None = Field(None, description="Path or URL that the asset was stored from.")


class SearchResponse(BaseModel):
    """The stored assets that are nearest to the query."""

    encoder: str = Field(description="Name of the encoder whose vectors were compared.")
    hits: list[Hit] = Field(description="The assets, nearest first.")
    note: str | None = Field(None, description="What limits this answer: how well texts find images with the encoder.")
