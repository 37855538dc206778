"""Parameters and fields that FastAPI cannot describe: those that belong together, lists in one text, aliases."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from classifiers.names import NAME
from classifiers.published.registry import LATEST, VERSION
from services.web.columns import COLUMNS
from services.web.media_types import FORM
from services.web.schemas import LABELS, MOST_NAME
from services.web.schemas.labels import NOT_BLANK


@dataclass(frozen=True, slots=True)
class Joined:
    """Query parameters with a rule between them. The document has them as one object, which is sent as they are.

    OpenAPI has no other way to say such a rule: an object with the style `form` and `explode` is one parameter for
    each of its fields.

    Attributes:
        name: name of the object. No request contains it.
        schema: what the object must have, beside its fields.
        fields: parameter → what FastAPI does not know about it.
        in_form: the same rule as `schema`, for the fields of a form that has others too.
    """

    name: str
    description: str
    required: bool
    schema: Mapping[str, Any]
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    in_form: Mapping[str, Any] = field(default_factory=dict)


_LABEL = {"type": "string", "minLength": 1, "maxLength": MOST_NAME, "pattern": NOT_BLANK}

_WITHIN: Mapping[str, Mapping[str, Any]] = {"task": {}, "label": {}, "split": {}}
_NEED_TASK = {"label": ["task"], "split": ["task"]}

_LABELLED = Joined(
    "labels",
    "Labels of the files: `task` and `label` together, and `split` only with them.",
    required=False,
    schema={"required": ["task", "label"]},
    fields={
        "task": {"minLength": 1},
        "label": {"minItems": 1, "items": _LABEL},
        "split": {},
    },
    in_form={"dependentRequired": {"task": ["label"], "label": ["task"], "split": ["task", "label"]}},
)

JOINED: Mapping[str, Joined] = {
    "GET /search": Joined(
        "query",
        "What to look for: exactly one of `id` and `text`. Where: `label` and `split` only with their `task`.",
        required=True,
        schema={"oneOf": [{"required": ["id"]}, {"required": ["text"]}], "dependentRequired": _NEED_TASK},
        fields={"id": {}, "text": {}, **_WITHIN},
    ),
    "POST /search": Joined(
        "within",
        "The assets to choose from: `label` and `split` only with their `task`.",
        required=False,
        schema={"dependentRequired": _NEED_TASK},
        fields=_WITHIN,
        in_form={"dependentRequired": _NEED_TASK},
    ),
    "POST /v1/assets": _LABELLED,
    "POST /v1/files": _LABELLED,
}
"""Endpoint → its parameters that belong together."""

_COLUMNS = {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [*COLUMNS]}}

LISTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "POST /classify": ("labels", LABELS),
    "GET /v1/rows": ("columns", _COLUMNS),
}
"""Endpoint → a parameter that is a list, separated by commas, and its schema."""


ALIAS = {
    "pattern": f"^{NAME.pattern}$",
    "not": {"anyOf": [{"const": LATEST}, {"pattern": f"^{VERSION.pattern}$"}]},
    "description": "1 to 64 letters, digits, `_` and `-`. It is neither `latest` nor a version.",
}
"""Schema of an alias. The registry checks it, and answers a bad one with a sentence of its own."""


def without_null(operation: dict[str, Any]) -> None:
    """Remove null from the types of parameters: a URL cannot have it, it can only leave a parameter out."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kept = [each for each in schema.pop("anyOf", ()) if each != {"type": "null"}]
        if len(kept) == 1:
            schema.update(kept[0])
        elif kept:
            schema["anyOf"] = kept


def describe_bodies(endpoint: str, operation: dict[str, Any]) -> None:
    """Add the parameters of an operation to its form and to its JSON body, where they may be instead of the query."""
    joined = JOINED.get(endpoint)
    more = joined.fields if joined else {}
    schemas = {
        each["name"]: {**each["schema"], **more.get(each["name"], {})}
        for each in operation.get("parameters", ())
        if each["in"] == "query"
    }
    if endpoint in LISTS:
        name, schema = LISTS[endpoint]
        schemas[name] = dict(schema)
    operation["requestBody"] = body = deepcopy(operation["requestBody"])
    for kind, content in body["content"].items():
        properties = content["schema"].get("properties", {})
        if kind == FORM:
            properties |= schemas
            content["schema"] |= joined.in_form if joined else {}
        else:
            for name in properties.keys() & schemas.keys():
                properties[name] = {"description": properties[name]["description"], **_in_json(name, schemas[name])}


def _in_json(name: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of a parameter in JSON: one text may stand for a list of one, null for what is left out."""
    one = [schema["items"]] if schema.get("type") == "array" and name != "labels" else []
    return {"anyOf": [schema, *one, {"type": "null"}]}


def join_parameters(endpoint: str, operation: dict[str, Any]) -> None:
    """Describe the parameters of an operation that belong together, or are lists, as OpenAPI can say it."""
    parameters = {each["name"]: each for each in operation.get("parameters", ())}
    if endpoint in LISTS:
        name, schema = LISTS[endpoint]
        parameters[name] |= {"schema": schema, "style": "form", "explode": False}
    if endpoint in JOINED:
        joined = JOINED[endpoint]
        properties = {name: _property(parameters.pop(name), more) for name, more in joined.fields.items()}
        parameters[joined.name] = {
            "name": joined.name,
            "in": "query",
            "description": joined.description,
            "required": joined.required,
            "style": "form",
            "explode": True,
            "schema": {
                "type": "object",
                "properties": properties,
                "additionalProperties": False,
                **joined.schema,
            },
        }
    if parameters:
        operation["parameters"] = list(parameters.values())


def _property(parameter: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {**parameter["schema"], "description": parameter["description"], **more}
