"""Hooks of Schemathesis: requests that the document allows have real photos, and mostly real names and ids.

A random name is answered 404, which says little. `REAL` in the environment has what the services know, as JSON.
Schemathesis loads this file in its own process; no test imports it.
"""

import json
import os
import zlib

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.file_samples import MEDIA_TYPE_FILE_SAMPLES

REAL = json.loads(os.environ["REAL"])
RANDOM_ONE_IN = 4

for media_type, sample in list(MEDIA_TYPE_FILE_SAMPLES.items()):
    schemathesis.openapi.media_type(media_type, st.just(sample))
for media_type in ("image/*", "audio/*", "video/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, st.just(MEDIA_TYPE_FILE_SAMPLES["image/png"]))

VECTOR = {"name": "vector", "datatype": "FP32", "shape": [1, 1280], "data": [0.5] * 1280}
"""An input of the Open Inference Protocol. No schema can say that `data` must have the shape `shape`."""


@schemathesis.hook
def before_call(context, case, kwargs):
    """Put real names into a request that the document allows. Its other values stay as they were generated."""
    draw = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    if not case.meta.generation.mode.is_positive:
        return
    if case.path.endswith("/infer"):
        case.body = {"inputs": [VECTOR]}
    if draw % RANDOM_ONE_IN == 0:
        return
    if case.path == "/classify" and isinstance(case.body, dict) and case.query:  # two values are answered 409
        case.body = {name: value for name, value in case.body.items() if name not in case.query}
    for values in (case.path_parameters, case.query, case.body):
        if isinstance(values, dict):
            values.update({name: real(name, value, draw) for name, value in values.items() if value})
    if case.path.endswith(("/events", "/result")):  # the others have no file, and their events go on
        case.path_parameters["job_id"] = real("ended_job", "", draw)
    if case.path.startswith("/v1/models/"):
        case.path_parameters["name"] = real("encoder", "", draw)


def real(name: str, value: object, draw: int) -> object:
    """Return a real value for the field or parameter `name`, as a list if `value` is one."""
    if name not in REAL:
        return value
    chosen = REAL[name][draw % len(REAL[name])]
    return [chosen] * len(value) if isinstance(value, list) else chosen
