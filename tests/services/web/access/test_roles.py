"""One table has the role of each endpoint, and an endpoint answers keys with that role or a higher one only."""

import re
from functools import cache

import pytest
from starlette.routing import Mount

from services import classification, embedding
from services.settings import Settings
from services.web.access import roles
from services.web.access.keys import Role, make

CREATE = {"embedding": embedding.create_app, "classification": classification.create_app}
MADE = {role.name: make(role.name, role) for role in Role}
LINES = tuple(key.line for _, key in MADE.values())
RANK = {"": 0, "read": 1, "write": 2, "admin": 3}


@cache
def endpoints(name: str) -> set[str]:
    """Return every endpoint of a service: those of the OpenAPI document, and the pages that are not in it."""
    app = CREATE[name](Settings(store="", heads="heads"))
    found = {f"{method.upper()} {path}" for path, each in app.openapi()["paths"].items() for method in each}
    for route in app.routes:
        if isinstance(route, Mount):
            found.add(f"GET {route.path}/{{path:path}}")
        elif path := getattr(route, "path", None):
            found |= {f"{method} {path}" for method in getattr(route, "methods", ()) if method != "HEAD"}
    return found


def test_the_table_has_every_endpoint_and_no_other():
    found = {name: endpoints(name) for name in CREATE}
    assert set(roles.ENDPOINTS) == found["embedding"] | found["classification"]
    assert {"GET /docs", "GET /openapi.json", "GET /metrics"} <= found["embedding"] & found["classification"]


def test_every_endpoint_that_changes_something_needs_more_than_reading():
    """The names are written out here, so that a change of the table alone does not pass."""
    changing = {each for each, role in roles.ENDPOINTS.items() if role is not None and role > Role.read}
    labels = {"POST /v1/labels", "DELETE /v1/labels", "POST /v1/labels/undo"}
    jobs = {"POST /v1/jobs", "POST /v1/jobs/{job_id}/cancel", "POST /v1/learn"}
    files = {"POST /v1/assets", "POST /v1/files", "POST /v1/backfills"}
    encoders = {"POST /v1/encoders", "DELETE /v1/encoders/{name}"}
    assert changing == {"POST /heads/{name}/alias", *encoders, *files, *labels, *jobs}
    assert roles.ENDPOINTS["POST /heads/{name}/alias"] is Role.admin
    open_ = {each for each, role in roles.ENDPOINTS.items() if role is None}
    assert open_ == {
        "GET /health/live",
        "GET /health/ready",
        "GET /",
        "GET /page/{path:path}",
        *(each for each in open_ if "docs" in each or "openapi" in each),
    }


@pytest.mark.parametrize("role", RANK)
@pytest.mark.parametrize("endpoint", roles.ENDPOINTS)
def test_an_endpoint_answers_its_role_and_those_above(app, endpoint, role):
    method, path = endpoint.split(" ")
    name = next(name for name in CREATE if endpoint in endpoints(name))
    client = app({"embedding": embedding, "classification": classification}[name], keys=LINES)
    headers = {"Authorization": f"Bearer {MADE[role][0]}"} if role else {}
    answer = client.request(method, re.sub(r"\{.*?\}", "x", path), headers=headers)
    needed = roles.ENDPOINTS[endpoint]
    if RANK[role] >= (needed or 0):
        assert answer.status_code not in (401, 403)
    elif not role:
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "role_too_low")
        assert needed is not None
        assert needed.name in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/nothing", "/classify/", "http://localhost//classify", "/CLASSIFY", "/heads/a/b/c", "/health/live/x"]
)
def test_a_path_that_no_endpoint_has_needs_a_key_too(app, path):
    client = app(classification, keys=LINES)
    assert client.get(path, follow_redirects=False).status_code == 401
    key = {"Authorization": f"bearer {MADE['read'][0]}"}
    assert client.get(path, headers=key, follow_redirects=False).status_code in (404, 405, 307)


@pytest.mark.parametrize(
    "path", ["/heads/../classify", "/heads/%2e%2e/alias", "/%68eads/a/alias", "/heads/a%2Fb/alias", "/heads/a/alias?x"]
)
def test_no_spelling_of_a_path_needs_a_lower_role(app, path):
    """The router and the table see the same decoded path."""
    client = app(classification, keys=LINES)
    answer = client.post(
        path, headers={"Authorization": f"Bearer {MADE['write'][0]}"}, json={"alias": "a", "version": "b"}
    )
    assert answer.status_code in (403, 404, 405, 409, 422)
    assert "unknown_head" not in answer.text


@pytest.mark.parametrize("name", CREATE)
def test_the_openapi_document_has_the_role_of_each_endpoint(tmp_path, name):
    document = CREATE[name](Settings(store="", heads=tmp_path)).openapi()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            role = roles.ENDPOINTS[f"{method.upper()} {path}"]
            assert ("security" in operation) is (role is not None)
            assert role is None or f"`{role.name}`" in operation["description"]
