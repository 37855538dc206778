"""Hooks of Schemathesis: requests that the document allows have real photos, and mostly real names and ids.

A random name is answered 404, which says little. `REAL` in the environment has what the services know, as JSON.
Schemathesis loads this file in its own process; no test imports it.
"""

import json
import os
import zlib
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st
from python_multipart import parse_form
from python_multipart.exceptions import FormParserError
from schemathesis.core import NotSet
from schemathesis.core.file_samples import MEDIA_TYPE_FILE_SAMPLES
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

REAL = json.loads(os.environ["REAL"])
RANDOM_ONE_IN = 4
DOCUMENT = json.loads(Path("openapi.json").read_text())
SOURCES = ("images", "image", "ids", "vectors", "encoder")
FORM, BODY = "multipart/form-data", ParameterLocation.BODY

for media_type, sample in list(MEDIA_TYPE_FILE_SAMPLES.items()):
    schemathesis.openapi.media_type(media_type, st.just(sample))
for media_type in ("image/*", "audio/*", "video/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.just(MEDIA_TYPE_FILE_SAMPLES["image/png"]))

VECTOR = {"name": "vector", "datatype": "FP32", "shape": [1, 1280], "data": [0.5] * 1280}
"""An input of the Open Inference Protocol. No schema can say that `data` must have the shape `shape`."""


TASK = REAL["learned"][0]
"""A task that heads are learned from. Jobs do not get it: they would train too."""


@schemathesis.hook
def before_call(context, case, kwargs):
    """Put real names into a request that the document allows. Its other values stay as they were generated."""
    given = [each for each in (case.path_parameters, case.query, case.body) if not isinstance(each, NotSet)]
    draw = zlib.crc32(repr(given).encode())
    if not case.meta.generation.mode.is_positive:
        return
    if draw % RANDOM_ONE_IN:
        name_what_exists(case, draw)
    if case.path.startswith("/v1/encoders/"):
        case.path_parameters["name"] = "melstat"  # other requests need lite0, which an answer may have named
    if case.path.endswith("/infer"):
        case.body = {"inputs": [VECTOR]}
    if case.path == "/v1/labels/undo" and isinstance(case.body, dict):
        case.body = {**case.body, "task": real("undone", "", draw)}  # no task means any: also the one to learn from


def name_what_exists(case, draw: int) -> None:
    """Put real names into a request: what does not exist is answered 404."""
    if case.path == "/classify":
        settle(case, draw)
    for given in (case.path_parameters, case.query, case.body):
        put_real(given, draw)
    if case.path == "/v1/encoders" and isinstance(case.body, dict):
        case.body = {**case.body, "name": "melstat"}
    if case.path == "/v1/learn" and isinstance(case.body, dict):
        case.body = {**case.body, "task": TASK, "kind": None, "against": None}
    if case.path == "/search":
        name_task(case)
    name_in_path(case, draw)


def name_in_path(case, draw: int) -> None:
    """Put what exists into a path that names it."""
    if case.path.startswith("/v1/jobs/"):
        ended = case.path.endswith(("/events", "/result"))  # the others have no file, and their events go on
        case.path_parameters["job_id"] = real("ended_job" if ended else "job", "", draw)
    if case.path.endswith("/sound"):
        case.path_parameters["id"] = real("sound", "", draw)
    if case.path.startswith("/v1/models/"):
        case.path_parameters["name"] = real("encoder", "", draw)


def name_task(case) -> None:
    """Search within a task that exists: within another one nothing is found, which is answered 404."""
    for given in (case.query, case.body):
        if isinstance(given, dict) and "task" in given:
            given["task"] = TASK


def settle(case, draw: int) -> None:
    """Leave out parameters that are allowed one by one, and seldom together: the service answers 409, and no head."""
    if draw % 3 == 0:
        case.query = {"head": [""]}
    if isinstance(case.body, dict):
        left_out = set(case.query) if draw % 3 else set(case.body) - set(SOURCES)
        case.body = {name: value for name, value in case.body.items() if name not in left_out}


@schemathesis.hook
def after_call(context, case, response):
    """Judge a form by the bytes that were sent.

    Schemathesis judges the values from which it made the form, and errs twice. It cannot validate bytes, so it takes
    a form with a file for forbidden as soon as a hook has changed it. And it does not know that a form has texts only,
    any number under one name: the value `false` for a list of labels is sent as one label, "false".
    """
    content_type = response.request.headers.get("Content-Type", "")
    if not content_type.startswith(FORM):
        return
    others = [each for place, each in case.meta.components.items() if place != BODY]
    alone = all(each.mode.is_positive for each in others)
    if alone and is_allowed(case.operation, content_type, response.request.body):
        case.meta.generation.mode = GenerationMode.POSITIVE


def is_allowed(operation, content_type: str, body: bytes) -> bool:
    """Return True if the schema of a form allows the fields of `body`.

    A file counts as an empty text. A text in a field for files, and a file in a field for texts, count as null.
    """
    schema = DOCUMENT["paths"][operation.path][operation.method]["requestBody"]["content"][FORM]["schema"]
    types = {name: each.get("type") for name, each in schema["properties"].items()}
    for_files = {name for name, each in schema["properties"].items() if "binary" in repr(each)}
    fields = defaultdict(list)

    def take(name: bytes, text: bytes | None) -> None:
        right = (name.decode() in for_files) is (text is None)
        fields[name.decode()].append((text or b"").decode() if right else None)

    try:
        parse_form(
            {"Content-Type": content_type.encode()},
            BytesIO(body),
            lambda field: take(field.field_name, field.value or b""),
            lambda file: take(file.field_name, None),
        )
    except (FormParserError, UnicodeDecodeError):
        return False
    sent = {name: read(values, types.get(name)) for name, values in fields.items()}
    return jsonschema_rs.validator_for(schema).is_valid(sent)


def read(values: list[str | None], kind: str | None) -> object:
    """Return what the `values` of one field of a form are as the JSON type `kind`."""
    if kind == "array" or len(values) > 1:
        return values
    try:
        return json.loads(values[0]) if kind in ("integer", "number", "boolean") and values[0] else values[0]
    except ValueError:
        return values[0]


def put_real(given: object, draw: int) -> None:
    """Put real values in the place of those in `given`, and in the objects that it contains."""
    if isinstance(given, dict):
        given.update({name: real(name, value, draw) for name, value in given.items() if value or value == ""})
    for value in given.values() if isinstance(given, dict) else given if isinstance(given, list) else ():
        put_real(value, draw)


def real(name: str, value: object, draw: int) -> object:
    """Return a real value for the field or parameter `name`, as a list if `value` is one."""
    if name not in REAL:
        return value
    chosen = REAL[name][draw % len(REAL[name])]
    return [chosen] * len(value) if isinstance(value, list) else chosen
