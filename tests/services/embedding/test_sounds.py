"""Sounds from files to answers: ingested beside photos, embedded, used for training, and classified over HTTP."""

import io
import json

import httpx
import numpy as np
import pytest
from helpers.commands import runner, settings_in
from helpers.pictures import photo
from helpers.sounds import sound

from embedder.encoders import melstat
from embedder.media import audio
from services.client import Client
from services.processes import running
from store import Store, asset_id

FORMS = {"WAV": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3"}
RATES = {"low": 8_000, "high": 44_100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two class folders with photos, sounds of every format, and three broken files."""
    root = tmp_path_factory.mktemp("mixed")
    for label, rate in RATES.items():
        (root / label).mkdir()
        for seed in range(20):
            form = list(FORMS)[seed % 4]
            data = sound(seed + rate, form, rate=rate, seconds=0.3 + 0.02 * seed)
            (root / label / f"{seed}.{FORMS[form]}").write_bytes(data)
        for seed in range(20):
            (root / label / f"{seed}.png").write_bytes(photo(seed + rate))
    (root / "low" / "cut.wav").write_bytes(sound(99)[:3000])
    (root / "low" / "notes.txt").write_text("no sound")
    (root / "high" / "silent.mp3").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory, cache_dir):
    return settings_in(tmp_path_factory.mktemp("home"), cache_dir)


@pytest.fixture(scope="module")
def headwater(settings):
    return runner(settings.environment())


@pytest.fixture(scope="module")
def trained(headwater, folder):
    """Step → (its result as JSON, its standard error)."""
    said = {"ingest": headwater("ingest", folder, "--task", "rates", "--json", code=3)}
    for encoder in ("melstat", "lite0"):
        said[encoder] = headwater("backfill", "--encoder", encoder, "--json")
        said[f"train {encoder}"] = headwater("train", "-t", "rates", "-e", encoder, "-n", encoder, "--json")
    return {step: (json.loads(out), err) for step, (out, err) in said.items()}


@pytest.fixture(scope="module")
def services(trained, settings):
    with running(settings) as started:
        yield started


def test_a_mixed_folder_goes_through_the_spine(trained, settings, folder):
    done, _ = trained["ingest"]
    assert (done["new_assets"], done["labelled"]) == (80, 80)
    assert done["reasons"] == {"truncated": 1, "unknown_format": 1, "empty": 1}
    for encoder, other in (("melstat", "image"), ("lite0", "audio")):
        done, told = trained[encoder]
        assert (done["embedded"], done["quarantined"]) == (40, 0)
        assert f"40 assets of modality {other} were skipped" in told
    store = Store.open(settings.store)
    assert store.assets.modalities() == {"image": 40, "audio": 40}
    data = (folder / "high" / "0.wav").read_bytes()
    [asset] = store.assets.get([asset_id(data)])
    assert (asset.modality, asset.media_type, asset.seconds) == ("audio", "audio/wav", pytest.approx(0.3))
    [_], [vector] = store.features("melstat").get([asset.id])
    np.testing.assert_allclose(vector, melstat.statistics(audio.decode(data)), rtol=1e-4, atol=1e-5)


def test_the_head_learned_something(trained):
    figures = trained["train melstat"][0]["figures"]
    assert figures["cross-validation" if "val" not in figures else "val"]["accuracy"] > 0.9


@pytest.mark.parametrize("heads", ["head=melstat&head=lite0", "head=lite0&head=melstat"])
def test_one_request_of_sounds_and_photos_for_two_heads(services, folder, heads):
    names = ["low/3.mp3", "high/1.flac", "low/2.ogg", "high/4.wav", "low/5.png", "low/cut.wav", "low/notes.txt"]
    files = [("images", (name, (folder / name).read_bytes())) for name in names]
    url = f"{services.classification_url}/classify?{heads}"
    items = httpx.post(url, files=files, timeout=30).raise_for_status().json()["items"]
    for name, item in zip(names[:5], items, strict=False):
        assert "error" not in item
        [answer] = item["answers"]
        assert answer["head"] == ("lite0" if name.endswith("png") else "melstat")
        if not name.endswith("png"):
            assert answer["label"] == name.partition("/")[0]
    assert [item["error"]["code"] for item in items[5:]] == ["truncated", "unknown_format"]


def test_a_head_of_sounds_says_that_it_takes_no_photo(services, folder):
    with Client(services.classification_url) as client:
        [item] = client.classify([folder / "low" / "5.png"], heads=["melstat"]).items
    assert item.answers == []
    assert item.error.code == "wrong_modality"
    assert "reads sounds; this file is an image" in item.error.message


def test_the_command_takes_sounds(headwater, services, folder):
    out, _ = headwater("classify", folder / "low" / "7.mp3", folder / "high" / "6.ogg", "--head", "melstat")
    assert [line.split()[2] for line in out.splitlines()[1:3]] == ["low", "high"]
    _, told = headwater("classify", folder / "low" / "7.mp3", "--modality", "smell", code=2)
    assert "audio" in told


def test_stored_over_http_with_its_duration(services, settings):
    data = sound(1234, seconds=1.25)
    with httpx.Client(base_url=services.embedding_url, timeout=30) as http:
        url = "/v1/assets?encoder=melstat&task=rates&label=low&split=train"
        found = http.post(url, files=[("files", ("x.wav", data))]).raise_for_status().json()
        again = http.post("/v1/embed?encoder=melstat&modality=depth", files=[("files", ("x.wav", data))]).json()
    assert found["items"] == [{"id": asset_id(data), "name": "x.wav", "status": "stored", "error": None}]
    assert Store.open(settings.store).assets.get([asset_id(data)])[0].seconds == 1.25
    assert again["items"][0]["error"]["code"] == "wrong_modality"


def test_depth_maps_are_stored_when_they_are_called_so(headwater, settings, tmp_path):
    out = io.BytesIO()
    np.save(out, np.linspace(0, 5, 48 * 64).reshape(48, 64))
    (tmp_path / "a.npy").write_bytes(out.getvalue())
    _, told = headwater("ingest", tmp_path / "a.npy", code=3)
    assert told == ""
    headwater("ingest", tmp_path / "a.npy", "--modality", "depth")
    [asset] = Store.open(settings.store).assets.get([asset_id(out.getvalue())])
    assert (asset.modality, asset.width, asset.height) == ("depth", 64, 48)
    assert "1 assets of modality depth were skipped" in headwater("backfill", "--encoder", "melstat")[1]
