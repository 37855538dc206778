"""A service answers for its own names and addresses only, so a rebound DNS name reaches nothing."""

import socket

import pytest
from helpers.serving import served
from hypothesis import given
from hypothesis import strategies as st

from services import classification
from services.settings import Settings
from services.web.access.hosts import allowing, is_loopback

LOOPBACK = [
    "localhost",
    "LOCALHOST:8001",
    "localhost.",
    "127.0.0.1",
    "127.0.0.1:8001",
    "127.9.8.7:1",
    "[::1]",
    "[::1]:80",
]
OTHERS = ["evil.example", "evil.example:8001", "localhost.evil.example", "notlocalhost", "0.0.0.0:8001", "10.0.0.5"]
MALFORMED = ["", "a b", "127.0.0.1@evil.example", "evil.example/127.0.0.1", "localhost:x", "[::1", "127.1", "::1"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_are_always_answered(app, service, host):
    assert app(service).get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/nothing"])
@pytest.mark.parametrize("host", [*OTHERS, *MALFORMED])
def test_no_endpoint_answers_for_another_name(app, service, path, host):
    answer = app(service).get(path, headers={"Host": host})
    assert answer.status_code == 421
    error = answer.json()["error"]
    assert error["code"] == "wrong_host"
    assert "HEADWATER_ALLOWED_HOSTS" in error["message"]
    assert answer.headers["X-Request-ID"] == error["request_id"]


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "answered"),
    [
        ("127.0.0.1", (), "10.0.0.5:8001", False),
        ("10.0.0.5", (), "10.0.0.5:8001", True),
        ("10.0.0.5", (), "10.0.0.6:8001", False),
        ("0.0.0.0", (), "10.0.0.6:8001", True),  # every address of the machine
        ("::", (), "[fe80::2]:8001", True),
        ("0.0.0.0", (), "evil.example", False),  # but no name
        ("0.0.0.0", (), "embedding:8000", False),
        ("0.0.0.0", ("Embedding",), "embedding:8000", True),
        ("0.0.0.0", ("app.example.org",), "app.example.org", True),
        ("0.0.0.0", ("app.example.org",), "x.app.example.org", False),
        ("my-machine", (), "MY-MACHINE:8001", True),
        ("127.0.0.1", ("[fe80::2]",), "[fe80::2]:8001", True),
    ],
)
def test_the_bound_address_and_the_setting_count(bound, allowed, host, answered):
    assert allowing(bound, allowed)(host.encode()) is answered


@given(st.text(st.characters(max_codepoint=255, exclude_characters=":"), max_size=40))
def test_no_other_text_is_taken_for_a_name(text):
    allowed = text.lower().removesuffix(".") == "localhost" or is_loopback(text.removesuffix("."))
    assert allowing("127.0.0.1", ())(text.encode("latin-1")) is allowed


@pytest.mark.parametrize("head", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: localhost, evil\r\n"])
def test_a_request_has_exactly_one_host(tmp_path, head):
    with served(classification.create_app(Settings(store="", heads=tmp_path))) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("wrong", ["https://app.example.org", "app.example.org:443", "*", "*.example.org", "a/b"])
def test_the_setting_takes_names_only(wrong):
    with pytest.raises(ValueError, match="is no name of a host"):
        Settings(allowed_hosts=(wrong,))
