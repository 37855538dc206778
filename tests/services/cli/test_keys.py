"""`headwater keys`, and services that ask for keys, as a user starts and calls them."""

import json
import subprocess

import httpx
import pytest
from helpers.commands import settings_in
from helpers.serving import served

from services import classification
from services.client import Client
from services.processes import running, url_of
from services.settings import Settings
from services.web.access.keys import KEY, Role, digest_of, make
from services.web.errors import RemoteProblem


def test_a_new_key_is_printed_once_and_its_line_is_what_a_service_reads(headwater, tmp_path):
    code, out, err = headwater("keys", "new", "--role", "write", "--name", "ci", "--rate", 2.5)
    assert (code, err) == (0, "")
    [secret] = KEY.findall(out)
    assert f"ci:write:{digest_of(secret)}:2.5" in out.split()
    (tmp_path / "keys").write_text(f"# ours\nci:write:{digest_of(secret)}:2.5\n")
    code, listed, _ = headwater("keys", "list", HEADWATER_KEYS=str(tmp_path / "keys"))
    assert code == 0
    assert listed.splitlines()[1].split() == ["ci", "write", "2.5/s", digest_of(secret)[:12]]
    assert secret not in listed


def test_scripts_read_json(headwater):
    made = json.loads(headwater("keys", "new", "--role", "read", "--json")[1])
    assert made["line"] == f"read:read:{digest_of(made['key'])}"
    _, out, _ = headwater("keys", "list", "--json", HEADWATER_KEYS=made["line"], HEADWATER_KEY_RATE="5")
    [listed] = json.loads(out)["keys"]
    assert listed == {"name": "read", "role": "read", "rate": 5.0, "digest": digest_of(made["key"])}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "a\nb"])
def test_a_name_that_no_line_can_have_is_refused(headwater, name):
    code, _, err = headwater("keys", "new", "--role", "read", "--name", name)
    assert code == 2
    assert "1 to 64 letters" in err


@pytest.mark.parametrize("command", [["serve", "embedding"], ["serve", "classification"], ["up"]])
def test_another_address_without_keys_is_refused_in_one_line(headwater, command):
    code, out, err = headwater(*command, "--host", "0.0.0.0")
    assert (code, out) == (1, "")
    error, hint = err.splitlines()
    assert error.startswith("error: there are no keys, so whoever reaches 0.0.0.0 could read and change everything")
    assert all(word in hint for word in ("headwater keys new", "HEADWATER_KEYS", "--insecure", "HEADWATER_INSECURE"))


def test_a_key_in_the_place_of_its_line_is_refused_without_repeating_it(headwater):
    secret, _ = make("a", Role.read)
    code, out, err = headwater("keys", "list", HEADWATER_KEYS=secret)
    assert (code, out) == (1, "")
    assert "It holds a key itself" in err
    assert secret not in err


def test_a_command_sends_the_key_of_its_setting(headwater, tmp_path):
    secret, key = make("a", Role.read)
    (tmp_path / "key").write_text(secret)
    (tmp_path / "x.jpg").write_bytes(b"x")
    with served(classification.create_app(Settings(store="", heads=tmp_path / "heads", keys=(key.line,)))) as url:
        call = ["classify", tmp_path / "x.jpg", "--url", url]
        _, _, err = headwater(*call)
        assert err.splitlines()[0].startswith("error: this service needs a key")
        assert "HEADWATER_KEY" in err.splitlines()[1]
        for value in (secret, str(tmp_path / "key")):
            code, _, err = headwater(*call, HEADWATER_KEY=value)
            assert code == 1
            assert "name a head" in err  # the request was understood
        _, _, err = headwater(*call, HEADWATER_KEY=secret[:-1])
        assert err.startswith("error: HEADWATER_KEY or HEADWATER_EMBEDDING_KEY is no key")
        assert secret[:20] not in err


@pytest.mark.slow
def test_both_services_on_every_address_with_keys(tmp_path, cache_dir):
    """The classification service has a key for the embedding service, which nobody had to make."""
    made = {role.name: make(role.name, role) for role in Role}
    (tmp_path / "keys").write_text("\n".join(key.line for _, key in made.values()))
    settings = settings_in(tmp_path, cache_dir, host="0.0.0.0", keys=(str(tmp_path / "keys"),), encoders=("lite0",))
    from helpers.pictures import photo

    with running(settings) as services:
        names = ["read", "write", "admin"]
        urls = services.classification_url, services.embedding_url
        assert [httpx.get(f"{url}/metrics").status_code for url in urls] == [401, 401]
        with Client(services.embedding_url, key=made["read"][0]) as client:
            assert client.embed([photo(1)], encoder="lite0").items[0].vector is not None
        with Client(services.classification_url, key=made["read"][0], timeout=60) as client:
            client.ready(needs=["media"])
            with pytest.raises(RemoteProblem, match="name a head"):
                client.classify([photo(1)])
        url = f"{services.embedding_url}/v1/assets?encoder=lite0&task=t&label=a"
        statuses = {
            name: httpx.post(
                url, files={"files": photo(2)}, headers={"Authorization": f"Bearer {made[name][0]}"}, timeout=60
            ).status_code
            for name in names
        }
        assert statuses == {"read": 403, "write": 200, "admin": 200}
        done = subprocess.run(
            [
                "curl",
                "-s",
                "-H",
                f"Authorization: Bearer {made['read'][0]}",
                f"{url_of('0.0.0.0', settings.classification_port)}/search?encoder=lite0&text=a",
            ],
            capture_output=True,
            text=True,
        )
        assert len(json.loads(done.stdout)["hits"]) == 1  # the text went through the embedding service with its own key
