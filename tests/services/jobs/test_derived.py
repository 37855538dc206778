"""Derived encoders are learned, trained on, backfilled and served; all routes give equal vectors and tokens."""

import json
import shutil
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest
from helpers.commands import runner, settings_in
from helpers.pictures import photo

from classifiers.published.membership import saw
from services.client import Client
from services.jobs.texts import text_sides
from services.processes import running
from services.settings import Settings
from store import Store, asset_id
from store.rows import strings


@pytest.fixture(scope="module")
def settings(home, tmp_path_factory) -> Settings:
    """A copy of the store of photos, which other tests count on, with places for clusters and adapters."""
    folder = tmp_path_factory.mktemp("derived")
    shutil.copytree(home.settings.store, folder / "headwater.db")
    return settings_in(folder, home.settings.cache)


@pytest.fixture(scope="module")
def headwater(settings):
    """Return a function that runs a command and returns the JSON that it prints."""
    run = runner(settings.environment())

    def told(*arguments: object, code: int = 0) -> dict:
        out, err = run(*arguments, *([] if code else ["--json"]), code=code)
        return {"error": err} if code else json.loads(out)

    return told


@pytest.fixture(scope="module")
def derived(settings, headwater) -> str:
    """The name of a derived encoder, made by the commands in the documentation."""
    rows = Store.open(settings.store).features("lite0").rows  # the photos, and what other tests had put beside them
    found = headwater("cluster", "--task", "shapes", "--clusters", 12, "--nearest", 3, "--against", "defective")
    assert found["rows"] == rows
    assert Path(found["report"]).is_file()
    made = headwater("adapt", "--from", "shapes", "--nearest", 3, "--set", "dim=32", "--set", "epochs=3")
    assert (made["vectors"], made["written"]) == (rows, rows)
    assert made["encoder"].startswith("lite0+mlcd-")
    again = headwater("adapt", "--from", "shapes", "--nearest", 3, "--set", "dim=32", "--set", "epochs=3")
    assert (again["encoder"], again["written"]) == (made["encoder"], 0)
    return made["encoder"]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_store_backfill_and_service_give_one_vector(settings, headwater, derived, photos, tmp_path):
    trained = headwater("train", "--task", "defective", "--encoder", derived, "--name", "cells")
    assert trained["rows"]["train"] > 100
    fresh = photo(77)
    (tmp_path / "new.png").write_bytes(fresh)
    headwater("ingest", tmp_path / "new.png")
    assert headwater("backfill", "--encoder", derived)["embedded"] == 1
    ids = [asset_id(photos[0]), asset_id(fresh)]  # written from the parent's vectors, and by the backfill
    _, stored = Store.open(settings.store).features(derived).get(ids)
    serving = settings.model_copy(update={"encoders": (derived,)})
    with running(serving) as services, httpx.Client(timeout=60) as http:
        files = [("files", ("a.jpg", photos[0])), ("files", ("b.png", fresh))]
        answer = http.post(f"{services.embedding_url}/v1/embed", params={"encoder": derived}, files=files).json()
        for item, vector in zip(answer["items"], stored, strict=True):
            assert cosine(np.array(item["vector"]), vector) > 0.999
        url = f"{services.classification_url}/classify"
        by_image = http.post(url, params={"head": "cells"}, files={"images": ("a.jpg", photos[0])})
        by_id = http.post(url, params={"head": "cells"}, json={"ids": [ids[0]]})
        assert by_image.status_code == by_id.status_code == 200, (by_image.text, by_id.text)
        [one], [two] = (answer.json()["items"][0]["answers"] for answer in (by_image, by_id))
        assert one["label"] == two["label"]
        assert one["probability"] == pytest.approx(two["probability"], abs=0.02)
        text = http.post(f"{services.embedding_url}/v1/embeddings", json={"model": derived, "input": "a cell"})
        assert (text.status_code, text.json()["error"]["code"]) == (409, "not_offered")


def test_a_damaged_or_missing_adapter_stops_writers_with_a_sentence(settings, headwater, derived):
    file = settings.adapters / f"mlcd-{derived.rpartition('-')[2]}" / "adapter.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    told = headwater("backfill", "--encoder", derived, code=1)["error"]
    assert "not the file that manifest.json describes" in told
    out, _ = runner(settings.environment())("doctor", "--json", code=1)
    assert json.loads(out)[f"adapter {file.parent.name}"].startswith("refused: ")
    file.write_bytes(whole)
    told = headwater("backfill", "--encoder", "lite0+mlcd-0123456789ab", code=1)["error"]
    assert "HEADWATER_ADAPTERS" in told
    assert derived in told


def test_condensed_tokens_come_from_stored_ones_or_from_images_and_answer(settings, headwater, photos, tmp_path):
    made = headwater("condense", "--pool", 2, "--components", 16, "--images", 64)
    assert made["tokens"] == ["49 × 1280", "16 × 16"]
    assert made["bytes_an_image"] == [125_440, 512]
    assert 0.1 < made["variance_kept"] < 0.9
    assert made["learned_from"] == 64
    assert headwater("condense", "--pool", 2, "--components", 16, "--images", 64)["encoder"] == made["encoder"]
    encoder = made["encoder"]
    (tmp_path / "new.png").write_bytes(photo(78))
    headwater("ingest", tmp_path / "new.png")
    store = Store.open(settings.store)
    said = [
        saw(settings.adapters / encoder.rpartition("+")[2], [id_])[id_] for id_ in strings(store.assets.ids("image"))
    ]
    assert Counter(said) == {"yes": 64, "no": len(said) - 64}
    whole = store.tokens("lite0").rows
    done = headwater("backfill", "--encoder", encoder, "--tokens", "--profile")
    assert (done["embedded"], done["profile"]["encode"]["busy"] > 0) == (len(store.assets.ids("image")), True)
    assert headwater("backfill", "--encoder", encoder, "--tokens")["embedded"] == 0
    assert store.tokens("lite0").rows == whole  # only the condensed ones are kept of a new image
    ids = [asset_id(photos[0]), asset_id(photo(78))]  # condensed from the stored tokens, and by the backfill
    _, stored = store.tokens(encoder).get(ids)
    texts = text_sides(store, settings)(store.features(encoder).fingerprint, ["a cell"])
    assert cosine(texts[0], text_sides(store, settings)(store.features("lite0").fingerprint, ["a cell"])[0]) > 0.999
    settled = ["--kind", "decoder", "--name", "small", "--set", "queries=groups", "--set", "width=32"]
    headwater("train", "--task", "looks", "--encoder", encoder, *settled, "--set", "epochs=2")
    serving = settings.model_copy(update={"encoders": (encoder,)})
    with running(serving) as services, httpx.Client(timeout=60) as http:
        with Client(services.embedding_url, service="embedding") as client:
            answer = client.embed([photos[0], photo(78)], encoder=encoder, tokens=True)
        for item, tokens in zip(answer.items, stored, strict=True):
            assert cosine(item.vector, tokens.ravel()) > 0.999
        url = f"{services.classification_url}/classify"
        by_image = http.post(url, params={"head": "small"}, files={"images": ("a.jpg", photos[0])})
        by_id = http.post(url, params={"head": "small"}, json={"ids": [ids[0]]})
        assert by_image.status_code == by_id.status_code == 200, (by_image.text, by_id.text)
        [one], [two] = (answer.json()["items"][0]["answers"] for answer in (by_image, by_id))
        scores = [{each["label"]: each["probability"] for each in answer["top_k"]} for answer in (one, two)]
        assert scores[0] == pytest.approx(scores[1], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["adapt", "--set", "epoch=3"], "unknown parameter 'epoch'; known: loss"),
        (["cluster", "--task", "defective"], "taken by a task of your own"),
        (["condense", "--encoder", "melstat", "--pool", "2"], "melstat gives no tokens"),
        (["condense", "--components", "2000"], "components requested, but the rows vary in"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(headwater, arguments, told):
    assert told in headwater(*arguments, code=1)["error"].replace("\n", "")
