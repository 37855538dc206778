"""Keys: only their digests are stored, a wrong one is refused everywhere, and no text that leaves a service has one."""

import asyncio
import json
import logging
from hashlib import sha256

import pytest
from helpers.serving import served
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.testclient import TestClient

from services import classification, embedding
from services.client import AsyncClient, Client
from services.settings import Settings
from services.web import logs
from services.web.access.errors import BadKeys, Unguarded
from services.web.access.guards import require_guarded
from services.web.access.keys import KEY, Key, Role, find, make, read_keys, secret_of
from services.web.errors import RemoteProblem

SECRET = "hw_" + "secret" * 7 + "s"  # always the same, because names of tests hold it
READ = Key("reader", Role.read, sha256(SECRET.encode()).hexdigest())


def test_a_key_is_random_and_only_its_digest_is_in_its_line():
    secrets = {make("a", Role.read)[0] for _ in range(100)}
    assert len(secrets) == 100
    assert all(KEY.fullmatch(each) for each in secrets)
    assert READ.line == f"reader:read:{sha256(SECRET.encode()).hexdigest()}"
    assert SECRET not in repr(READ)


@given(st.sampled_from(Role), st.none() | st.integers(0, 10_000) | st.sampled_from([0.5, 2.25, 1e-7, 1e20]))
def test_a_line_is_read_back(role, rate):
    secret, key = make("a.b-c_1", role, rate)
    [again] = read_keys([key.line], rate=7.0)
    assert (again.name, again.role, again.digest) == (key.name, role, key.digest)
    assert again.rate == (7.0 if rate is None else rate)
    assert find([READ, again], secret) is again
    assert find([READ, again], secret[:-1]) is None


def test_lines_and_files_of_lines_count_together(tmp_path):
    file = tmp_path / "keys.txt"
    others = [make(name, Role.write)[1] for name in ("one", "two")]
    file.write_text("# keys of the team\n\n" + "\n".join(key.line for key in others) + "\n")
    assert [key.name for key in read_keys([READ.line, str(file)])] == ["reader", "one", "two"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a:reader:" + "0" * 64, "where ROLE is one of read, write, admin"),
        ("a:read:" + "0" * 63, "is not of the form"),
        (SECRET, "It holds a key itself"),
        (f"a:read:{SECRET}", "It holds a key itself"),
        (READ.line + "\n" + READ.line, "twice"),
        (READ.line + "\n" + READ.line.replace("reader", "other"), "twice"),
        ("# no key yet", "has no key, so every request would be refused"),
    ],
)
def test_a_file_that_is_wrong_keeps_the_service_from_starting_and_is_not_repeated(tmp_path, text, told):
    file = tmp_path / "keys.txt"
    file.write_text(text)
    with pytest.raises(BadKeys, match=told) as caught:
        classification.create_app(Settings(store="", heads=tmp_path, keys=(str(file),)))
    assert SECRET not in str(caught.value)
    assert SECRET[:20] not in str(caught.value)


@pytest.mark.parametrize("entry", ["no/such/file", SECRET, f"a:read:{SECRET}"])
def test_an_entry_that_is_wrong_is_refused(entry):
    with pytest.raises(BadKeys) as caught:
        read_keys([entry])
    assert SECRET not in str(caught.value)


WRONG = [
    f"Bearer {SECRET[:-1]}",
    f"Bearer {SECRET}x",
    f"Basic {SECRET}",
    SECRET,
    "Bearer",
    "Bearer ",
    f"Bearer {READ.digest}",
    f"Bearer {READ.line}",
    "Bearer hw_\xe9\xff",
]


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/heads", "/docs", "/metrics"])
@pytest.mark.parametrize("header", WRONG, ids=range(len(WRONG)))
def test_a_wrong_key_is_refused_even_where_none_is_needed(app, path, header):
    client = app(classification, keys=(READ.line,))
    answer = client.get(path, headers={"Authorization": header.encode("latin-1")})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_key")
    assert SECRET[3:20] not in answer.text
    assert READ.digest not in answer.text


def test_two_keys_in_one_request_are_refused(app):
    client = app(classification, keys=(READ.line,))
    twice = [("Authorization", f"Bearer {SECRET}"), ("Authorization", f"Bearer {SECRET}")]
    assert client.get("/heads", headers=twice).json()["error"]["code"] == "bad_key"


def test_without_keys_nothing_changes_on_loopback(app, service):
    assert app(service).get("/metrics").status_code == 200
    assert app(service).get("/metrics", headers={"Authorization": "Bearer of another program"}).status_code == 200


# Rates


@given(
    st.integers(200, 50_000).map(lambda thousandths: thousandths / 1000),  # other floats differ by their last bit
    st.lists(st.integers(0, 3000).map(lambda ms: ms / 1000), min_size=1, max_size=200),
)
def test_a_rate_admits_what_a_bucket_of_one_second_holds(rate, pauses):
    """In t seconds at most t · rate + max(1, rate) requests pass, and a refusal has the right wait."""
    key, now, passed = Key("a", Role.read, "", rate), 0.0, []
    for pause in pauses:
        now += pause
        if (seconds := key.wait(now)) == 0:
            passed.append(now)
        else:
            later = Key("a", Role.read, "", rate)
            later._tokens, later._at = key._tokens, key._at
            assert later.wait(now + seconds * 0.99) > 0
            later._tokens, later._at = key._tokens, key._at
            assert later.wait(now + seconds * 1.01) == 0
    for i, start in enumerate(passed):
        for j, end in enumerate(passed[i:], start=1):
            assert j <= (end - start) * rate + max(1.0, rate) + 1e-6


def test_a_key_beyond_its_rate_is_429_and_another_is_not(app):
    slow, fast = make("slow", Role.read, 3), make("fast", Role.read)
    client = app(classification, keys=(slow[1].line, fast[1].line))
    answers = [client.get("/heads", headers={"Authorization": f"Bearer {slow[0]}"}) for _ in range(12)]
    refused = [each for each in answers if each.status_code == 429]
    assert 1 <= len(refused) <= 9
    assert [each.status_code for each in answers[:3]] == [200] * 3
    assert refused[0].json()["error"]["code"] == "too_many_requests"
    assert int(refused[0].headers["Retry-After"]) >= 1
    assert client.get("/heads", headers={"Authorization": f"Bearer {fast[0]}"}).status_code == 200


def test_the_setting_is_the_rate_of_keys_without_one(app):
    client = app(classification, keys=(READ.line,), key_rate=2, key=SECRET)
    key = {"Authorization": f"Bearer {SECRET}"}
    assert 429 in [client.get("/heads", headers=key).status_code for _ in range(8)]


# Where a service may listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_no_key(host):
    require_guarded(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "my-machine", "fe80::2"])
@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_another_address_needs_a_key_or_the_word_of_the_operator(service, host, tmp_path, caplog):
    settings = {"store": "", "heads": tmp_path, "host": host}
    with pytest.raises(Unguarded, match=host):
        service.create_app(Settings(**settings))
    service.create_app(Settings(**settings, keys=(READ.line,)))
    assert "without keys" not in caplog.text
    with caplog.at_level(logging.WARNING):
        TestClient(service.create_app(Settings(**settings, insecure=True)), base_url="http://localhost").get("/docs")
    assert "without keys" in caplog.text


# Clients


def test_both_clients_send_the_key(tmp_path):
    app = classification.create_app(Settings(store="", heads=tmp_path, keys=(READ.line,)))
    with served(app) as url:
        with Client(url, key=SECRET) as client:
            assert client.heads().heads == []
        with Client(url) as client, pytest.raises(RemoteProblem) as caught:
            client.heads()
        assert (caught.value.status, caught.value.code) == (401, "missing_key")

        async def ask() -> None:
            async with AsyncClient(url, key=SECRET) as client:
                assert (await client.heads()).heads == []

        asyncio.run(ask())


@pytest.mark.parametrize("wrong", ["hw_short", "of another program", SECRET + "\n", SECRET + "\r\nX: y"])
def test_a_client_refuses_what_is_no_key_without_repeating_it(wrong):
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="begin with hw_") as caught:
            kind("http://127.0.0.1:9", key=wrong)
        assert wrong not in str(caught.value)


def test_a_secret_setting_is_a_key_or_a_file(tmp_path):
    (tmp_path / "key").write_text(SECRET + "\n")
    (tmp_path / "other").write_text("nothing")
    assert secret_of(SecretStr("")) == ""
    assert secret_of(SecretStr(SECRET)) == secret_of(SecretStr(str(tmp_path / "key"))) == SECRET
    for wrong in (SECRET[:-1], str(tmp_path / "other"), str(tmp_path / "none"), str(tmp_path)):
        with pytest.raises(BadKeys) as caught:
            secret_of(SecretStr(wrong))
        assert SECRET[:20] not in str(caught.value)


def test_a_service_without_the_other_ones_key_says_so(tmp_path):
    """The client of the classification service has the right key, so it must not be told that its key is wrong."""
    inner = classification.create_app(Settings(store="", heads=tmp_path, keys=(READ.line,)))
    with served(inner) as url:  # any service with keys, in the place of the embedding service
        outer = classification.create_app(Settings(store="", heads=tmp_path, embedding_url=url))
        client = outer.state.service.embedding

        async def ask() -> None:
            await client.heads()

        with pytest.raises(RemoteProblem, match="HEADWATER_EMBEDDING_KEY") as caught:
            asyncio.run(ask())
    assert (caught.value.status, caught.value.code) == (502, "service_refused")


# Nothing that leaves a service has a key


def test_no_log_answer_or_metric_has_a_key(tmp_path, caplog):
    writer = make("writer", Role.write)
    lines = (READ.line, writer[1].line)
    settings = Settings(store="", heads=tmp_path, keys=lines, embedding_key=SecretStr(SECRET), key=SecretStr(SECRET))
    wrong, texts = "hw_" + "w" * 43, []
    caplog.set_level(logging.DEBUG)
    with TestClient(
        classification.create_app(settings), base_url="http://localhost", raise_server_exceptions=False
    ) as http:
        for key in (SECRET, writer[0], wrong):
            headers = {"Authorization": f"Bearer {key}"}
            for method, path in (
                ("GET", "/heads"),
                ("GET", "/metrics"),
                ("GET", "/health/ready"),
                ("POST", "/classify"),
            ):
                texts.append(http.request(method, path, headers=headers).text)
            texts.append(http.post("/heads/x/alias", headers=headers, json={"alias": "a", "version": "b"}).text)
    texts += [logs.JsonFormatter().format(record) for record in caplog.records]
    texts += [repr(settings), str(settings), repr(settings.model_dump())]
    assert len(texts) > 15
    for secret in (SECRET, writer[0], wrong):
        assert not [text for text in texts if secret in text or secret[3:] in text]


def test_a_change_is_logged_with_the_name_of_the_key(app, caplog):
    admin = make("alice", Role.admin)
    caplog.set_level(logging.INFO, logger="headwater.access")
    client = app(classification, keys=(READ.line, admin[1].line))
    client.get("/heads", headers={"Authorization": f"Bearer {SECRET}"})
    client.post("/heads/x/alias", headers={"Authorization": f"Bearer {admin[0]}"}, json={})
    [line] = [
        json.loads(logs.JsonFormatter().format(each)) for each in caplog.records if each.name == "headwater.access"
    ]
    assert (line["key"], line["method"], line["path"]) == ("alice", "POST", "/heads/x/alias")
