"""A page of another origin, in a real Chromium, changes nothing; neither does a name that was rebound to loopback."""

import base64
import json
import shutil
from urllib.parse import urlsplit

import httpx
import pytest
from helpers.browser import CHROMIUM, opened, page, transcript
from helpers.pictures import photo
from helpers.serving import served

from classifiers.published.registry import Registry
from services.classification import create_app
from services.processes import free_ports
from services.settings import Settings
from services.web.access.keys import Role, make

TASK = "planted"
CHANGES = {
    "labels": {"task": TASK, "labels": []},
    "jobs": {"kind": "backfill"},
    "learn": {"task": TASK, "name": "evil"},
}
"""Path below /v1 → a body that would change something."""

PHOTOS = [photo(9000 + seed, form="PNG") for seed in range(4)]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def attempts(embedding: str, classification: str, alias: str) -> str:
    """A script that tries to write labels and an alias in every way that a page has."""
    assets = json.dumps(f"{embedding}/v1/assets?encoder=lite0&task={TASK}&label=evil")
    promote, body = (
        json.dumps(f"{classification}/heads/gaussian/alias"),
        json.dumps({"alias": alias, "version": "latest"}),
    )
    return f"""
    await attempt("form", () => submit({assets}, 0));
    await attempt("fetch without CORS", () => read({assets}, {{ method: "POST", mode: "no-cors", body: form(1) }}));
    await attempt("fetch", () => read({assets}, {{ method: "POST", body: form(2) }}));
    await attempt("fetch of JSON", () => read({promote}, json({body})));
    await attempt("fetch of JSON as text", () => read({promote},
      {{ method: "POST", mode: "no-cors", body: JSON.stringify({body}) }}));
    for (const [path, body] of Object.entries({json.dumps(CHANGES)})) {{
      const url = {json.dumps(classification)} + "/v1/" + path;
      const sent = JSON.stringify(body);
      await attempt("JSON to " + path, () => read(url, json(body)));
      await attempt("text to " + path, () => read(url, {{ method: "POST", mode: "no-cors", body: sent }}));
    }}
    await attempt("file", () => submit({json.dumps(f"{classification}/v1/files?task={TASK}&label=evil")}, 3));
    const labels = {json.dumps(f"{classification}/v1/labels?task={TASK}&id=x")};
    await attempt("removal", () => read(labels, {{ method: "DELETE" }}));
    for (const path of ["/heads", "/v1/overview", "/v1/rows", "/v1/me", "/v1/jobs"])
      await attempt("read " + path, () => read({json.dumps(classification)} + path));
    """


def seen(embedding: str, classification: str, alias: str, profile, **options) -> dict[str, str]:
    with page(attempts(embedding, classification, alias), [base64.b64encode(each).decode() for each in PHOTOS]) as url:
        return transcript(url, profile, **options)


@needs_chromium
def test_a_page_of_another_origin_changes_nothing(services, home, tmp_path):
    told = seen(services.embedding_url, services.classification_url, "evil", tmp_path)
    assert set(told.values()) == {"sent, answer hidden", "TypeError: Failed to fetch"}
    assert TASK not in home.store.labels.tasks()
    heads = httpx.get(f"{services.classification_url}/heads").json()["heads"]
    assert not [head["name"] for head in heads if "evil" in head["aliases"]]


@needs_chromium
def test_a_name_that_was_rebound_to_this_machine_reads_nothing(services, tmp_path):
    """The browser takes the service for the site of the name; only the service can know better."""
    port = urlsplit(services.classification_url).port
    rules = "--host-resolver-rules=MAP rebound.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    shown, errors = opened(f"http://rebound.example:{port}/heads", tmp_path, rules=rules)
    assert "wrong_host" in shown, errors[-2000:]
    assert "gaussian" not in shown


@needs_chromium
def test_a_page_of_an_allowed_origin_with_a_key_may_change_and_read(home, tmp_path):
    """The same calls: refused without the key, refused for another origin with it, answered for the allowed one."""
    secret, key = make("page", Role.admin)
    heads = tmp_path / "heads"
    shutil.copytree(home.settings.heads / "gaussian", heads / "gaussian")

    def calls(url: str) -> str:
        promote, body = f"{url}/heads/gaussian/alias", json.dumps({"alias": "friend", "version": "latest"})
        sent = f'{{ headers: {{ Authorization: "Bearer {secret}", "Content-Type": "application/json" }}'
        return f"""
        await attempt("without a key", () => read("{promote}", json({body})));
        await attempt("with a key", () => read("{promote}", {sent}, method: "POST", body: JSON.stringify({body}) }}));
        await attempt("read", () => read("{url}/heads", {sent} }}));
        """

    [port, other] = free_ports(2)
    allowed = f"http://127.0.0.1:{port}"
    app = create_app(Settings(store="", heads=heads, keys=(key.line,), allowed_origins=(allowed,)))
    with served(app) as url:
        with page(calls(url), [], other) as stranger:
            told = transcript(stranger, tmp_path / "a")
        assert set(told.values()) == {"TypeError: Failed to fetch"}
        assert "friend" not in Registry(heads).aliases("gaussian")
        with page(calls(url), [], port) as friend:
            told = transcript(friend, tmp_path / "b")
    assert told["without a key"].startswith("401 ")
    assert "missing_key" in told["without a key"]
    assert told["with a key"].startswith("200 ")
    assert told["read"].startswith("200 ")
    assert "friend" in Registry(heads).aliases("gaussian")
