"""Every error of the tables is in the documents where it can be answered, and the documents name no other error."""

import json
import re
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import embedder.errors
import store.errors
from services import classification, embedding
from services.settings import Settings
from services.web.access import roles
from services.web.access.errors import DENIED
from services.web.access.keys import Role, make
from services.web.document.answers import MEDIA, RAISED
from services.web.errors import ERRORS, HEAD_CODES, HTTP_CODES, INTERNAL, REFUSED, REMOTE

SERVICES = {"embedding": embedding, "classification": classification}
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NEVER = {embedder.errors.BadMedia, store.errors.BadVectors}
"""BadMedia has the code of its reason. No endpoint stores vectors of a request."""

Errors = set[tuple[int, str]]


def document(name: str, tmp_path) -> dict[str, Any]:
    return SERVICES[name].create_app(Settings(store="", heads=tmp_path)).openapi()


def operations(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{method.upper()} {path}": each for path, its in found["paths"].items() for method, each in its.items()}


def resolved(found: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def codes(schema: dict[str, Any]) -> list[str]:
    branches = schema.get("anyOf", [schema])
    return [
        code
        for each in branches
        if "properties" in each
        for code in each["properties"]["error"]["properties"]["code"]["enum"]
    ]


def told(found: dict[str, Any], operation: dict[str, Any]) -> Errors:
    """Return the status and the code of every error that a document has for an operation."""
    errors = {int(status): resolved(found, each) for status, each in operation["responses"].items() if status >= "400"}
    return {
        (status, code)
        for status, each in errors.items()
        for code in codes(each["content"]["application/json"]["schema"])
    }


def test_every_error_of_the_tables_is_documented_and_no_other(tmp_path):
    documents = [document(name, tmp_path) for name in SERVICES]
    found = {error for each in documents for operation in operations(each).values() for error in told(each, operation)}
    tables = {answer for kind, answer in ERRORS.items() if kind not in NEVER} | MEDIA
    tables |= {(kind.status, kind.code) for kind in (*DENIED, *REFUSED)} | {*HEAD_CODES.items(), INTERNAL, *REMOTE}
    tables.add((404, HTTP_CODES[404]))  # a name with a line break, in the path of an encoder
    assert found == tables


@pytest.mark.parametrize("name", SERVICES)
def test_an_error_is_documented_on_each_endpoint_that_raises_it(name, tmp_path):
    found = document(name, tmp_path)
    for endpoint, operation in operations(found).items():
        assert {ERRORS[kind] for kind in RAISED[endpoint]} <= told(found, operation), endpoint
        refuses_unknown = not endpoint.startswith(("GET /health", "GET /metrics"))
        limited = any(
            set(each["schema"]) & {"maxLength", "enum", "minimum", "items"} for each in operation.get("parameters", ())
        )
        assert ((422, "bad_request") in told(found, operation)) is (
            limited or "requestBody" in operation or refuses_unknown
        ), endpoint


def test_each_endpoint_has_its_exceptions():
    assert {
        f"{endpoint}" for endpoint in roles.ENDPOINTS if not re.search(r"docs|openapi|GET /$|GET /page/", endpoint)
    } == set(RAISED)


@pytest.mark.parametrize("name", SERVICES)
def test_every_answer_has_its_headers(name, tmp_path):
    found = document(name, tmp_path)
    for endpoint, operation in operations(found).items():
        for status, each in operation["responses"].items():
            headers = resolved(found, each).get("headers", {})
            either = endpoint.endswith("/health/ready") and status == "503"
            assert "X-Request-ID" in headers
            assert ("Retry-After" in headers) is (status in ("429", "503") and not either)
            assert ("WWW-Authenticate" in headers) is (status == "401")


@pytest.fixture(params=SERVICES)
def served(request, tmp_path) -> tuple[dict[str, Any], TestClient]:
    """The document of a service with keys, and a client of its app, which has not started."""
    keys = [make(role.name, role) for role in Role]
    lines = tuple(key.line for _, key in keys)
    app = SERVICES[request.param].create_app(Settings(store="", heads=tmp_path, keys=lines, max_body_bytes=1000))
    key = {"Authorization": f"Bearer {keys[-1][0]}"}
    return app.openapi(), TestClient(app, base_url="http://localhost", headers=key, raise_server_exceptions=False)


HOSTILE: list[dict[str, Any]] = [
    {"headers": {"Host": "elsewhere.example"}},
    {"headers": {"Origin": "https://elsewhere.example"}},
    {"headers": {"Authorization": "Bearer nothing"}},
    {"content": b"x" * 1001},
    {"content": b"{", "headers": {"Content-Type": "application/json"}},
    {"params": {"head": "nosuch", "encoder": "nosuch"}},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda each: json.dumps({k: str(v)[:40] for k, v in each.items()}))
def test_what_a_guard_or_a_limit_answers_is_documented(served, hostile):
    found, client = served
    for endpoint, operation in operations(found).items():
        method, path = endpoint.split(" ")
        answer = client.request(method, path.replace("{name}", "x").replace("{job_id}", "x"), **hostile)
        if answer.is_error and "ready" not in endpoint:
            assert (answer.status_code, answer.json()["error"]["code"]) in told(found, operation), endpoint


@pytest.mark.parametrize("method", METHODS)
def test_allow_names_every_method_of_a_path(served, method):
    found, client = served
    for path, its in found["paths"].items():
        answer: httpx.Response = client.request(method, path.replace("{name}", "x").replace("{job_id}", "x"))
        allowed = {each.upper() for each in its} | ({"HEAD"} if "get" in its else set())
        if method in allowed:
            assert answer.status_code != 405
        else:
            assert answer.status_code == 405
            assert answer.headers["allow"] == ", ".join(sorted(allowed))


def test_a_folder_of_files_allows_get(served):
    _, client = served
    answer = client.post("/docs/assets/swagger-ui.css")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("name", SERVICES)
def test_with_keys_no_request_is_documented_without_one(name, tmp_path, served):
    found, _ = served
    for endpoint, operation in operations(found).items():
        assert operation.get("security") == (None if roles.ENDPOINTS[endpoint] is None else [{"key": []}])
    assert "{}" in str([each.get("security") for each in operations(document(name, tmp_path)).values()])
