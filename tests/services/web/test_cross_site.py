"""A page of another origin, in a real Chromium, changes nothing; neither does a name that was rebound to loopback."""

import base64
import json

import httpx
import pytest
from helpers.browser import CHROMIUM, page, transcript
from helpers.pictures import photo

TASK = "planted"
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
    await attempt("read", () => read({json.dumps(classification)} + "/heads"));
    """


def seen(embedding: str, classification: str, alias: str, profile, **options) -> dict[str, str]:
    with page(attempts(embedding, classification, alias), [base64.b64encode(each).decode() for each in PHOTOS]) as url:
        return transcript(url, profile, **options)


@needs_chromium
def test_a_page_of_another_origin_changes_nothing(services, home, tmp_path):
    told = seen(services.embedding_url, services.classification_url, "evil", tmp_path)
    print(json.dumps(told, indent=1))
    assert TASK not in home.store.labels.tasks()
    heads = httpx.get(f"{services.classification_url}/heads").json()["heads"]
    assert not [head["name"] for head in heads if "evil" in head["aliases"]]
