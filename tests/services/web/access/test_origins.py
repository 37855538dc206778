"""Pages of other origins may send nothing but a GET; programs, which send no Origin, and allowed origins may."""

import pytest

from services import classification
from services.settings import Settings

FRIEND, STRANGER = "https://app.example.org", "http://localhost:3000"
PROGRAM: dict[str, str] = {}
OWN_PAGE = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
HOSTILE = [
    {"Origin": STRANGER},
    {"Origin": STRANGER, "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null"},  # a page in a sandbox
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},  # a browser that hides the origin
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example/localhost"},
]
POSTS = [("classification", path) for path in ("/classify", "/heads/a/alias", "/search?encoder=lite0")]
POSTS += [("embedding", f"/v1/{name}") for name in ("embed", "embeddings", "assets", "backfills")]


@pytest.mark.parametrize(("name", "path"), POSTS)
@pytest.mark.parametrize("headers", HOSTILE, ids=str)
def test_every_post_of_another_origin_is_refused(app, name, path, headers):
    from services import embedding

    answer = app({"embedding": embedding, "classification": classification}[name]).post(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_origin")
    assert "HEADWATER_ALLOWED_ORIGINS" in answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_every_method_but_get_is_refused_even_where_nothing_is(app, service, method):
    assert app(service).request(method, "/nothing", headers={"Origin": STRANGER}).status_code == 403


@pytest.mark.parametrize(
    "headers", [PROGRAM, OWN_PAGE, {"Origin": "HTTP://LocalHost"}, {"Sec-Fetch-Site": "none"}], ids=str
)
def test_programs_and_own_pages_are_answered(app, headers):
    answer = app(classification).post("/heads/none/alias", json={"alias": "a", "version": "b"}, headers=headers)
    assert answer.json()["error"]["code"] == "unknown_head"


def test_a_get_of_another_origin_is_answered_without_leave_to_read_it(app, service):
    answer = app(service).get("/health/live", headers={"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def preflight(origin: str) -> dict[str, str]:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    return {"Origin": origin, "Sec-Fetch-Site": "cross-site"} | asked


def test_an_allowed_origin_may_ask_and_read_even_what_was_refused(app):
    client = app(classification, allowed_origins=(FRIEND,))
    asked = client.options("/classify", headers=preflight(FRIEND))
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["access-control-allow-origin"] == FRIEND
    assert asked.headers["access-control-allow-headers"] == "authorization,content-type"
    assert asked.headers["access-control-allow-methods"] == "DELETE, GET, HEAD, POST"
    for answer in (
        client.post("/classify", headers={"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}),
        client.get("/health/live", headers={"Origin": FRIEND}),
    ):
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert "Origin" in answer.headers["vary"]
        assert answer.status_code != 403


def test_allowing_one_origin_allows_no_other(app):
    client = app(classification, allowed_origins=(FRIEND,))
    for origin in (STRANGER, "https://app.example.org.evil.example", "http://app.example.org", "null"):
        assert client.options("/classify", headers=preflight(origin)).status_code == 403
        assert client.post("/classify", headers={"Origin": origin}).status_code == 403
        read = client.get("/health/live", headers={"Origin": origin})
        assert "access-control-allow-origin" not in read.headers
        assert "Origin" in read.headers["vary"]  # a cache must not give this answer to the allowed origin
    assert "Origin" in client.get("/health/live").headers["vary"]


def test_a_preflight_needs_no_key_and_the_request_does(app):
    from services.web.access.keys import Role, make

    client = app(classification, allowed_origins=(FRIEND,), keys=(make("a", Role.read)[1].line,))
    assert client.options("/heads", headers=preflight(FRIEND)).status_code == 204
    refused = client.get("/heads", headers={"Origin": FRIEND})
    assert refused.json()["error"]["code"] == "missing_key"
    assert refused.headers["access-control-allow-origin"] == FRIEND


@pytest.mark.parametrize("wrong", ["*", "null", "app.example.org", "https://app.example.org/", "https://*.example.org"])
def test_the_setting_takes_origins_only(wrong):
    with pytest.raises(ValueError, match="is no origin"):
        Settings(allowed_origins=(wrong,))


def test_no_other_page_may_frame_the_page_with_buttons(app, service):
    assert app(service).get("/docs").headers["content-security-policy"] == "frame-ancestors 'none'"
