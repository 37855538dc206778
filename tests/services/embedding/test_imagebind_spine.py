"""One encoder embeds seven modalities into one table, and a head that was trained on photos classifies all of them."""

import json

import httpx
import numpy as np
import pytest
from helpers.binds import DIM, build, recordings, save
from helpers.commands import apart, runner, settings_in
from helpers.pictures import photo
from scipy.special import softmax

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import media, probe, registry
from embedder.errors import LicenceNotAccepted
from services.client import Client
from services.jobs.ingest import ingest
from services.jobs.texts import text_sides
from services.processes import running
from store import Item, Store, asset_id


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bind")


@pytest.fixture(scope="module")
def name(home):
    return f"imagebind/huge@{save(build(), home / 'small.pth')}"


@pytest.fixture(scope="module")
def settings(home, name):
    return settings_in(home, home / "cache", encoders=(name,), backend="torch-fp32")


@pytest.fixture(scope="module")
def headwater(settings):
    return runner(settings.environment(), run=apart)  # loggers write to the standard error of a process


@pytest.fixture(scope="module")
def store(settings):
    """Photos of two classes, and files of every other modality without labels."""
    store = Store.open(settings.store)
    photos = [Item(f"{seed}.png", photo(seed), ["ab"[seed % 2]]) for seed in range(24)]
    ingest(store, photos, task="letters")
    for modality, files in recordings().items():
        found = ingest(store, [Item(file, data) for file, data in files.items()], modality=modality)
        assert found.quarantined == (modality == "video")
    return store


@pytest.fixture(scope="module")
def done(headwater, store, settings, name):
    """The output of the refused and of the accepted backfill."""
    _, refused = headwater("backfill", "--encoder", name, code=1)
    first = headwater("backfill", "--encoder", name, "--accept-noncommercial", "--json")
    train(store, Registry(settings.heads), task="letters", encoders=[name], kind="gaussian", name="letters")
    return {"refused": refused, "first": first}


@pytest.fixture(scope="module")
def encoder(name, settings, done):
    return registry.load(name, backend="torch-fp32", cache_dir=settings.cache, accept_noncommercial=True)


@pytest.fixture(scope="module")
def services(done, settings):
    with running(settings.model_copy(update={"accept_noncommercial": True})) as started:
        yield started


def test_the_licence_has_to_be_accepted_and_is_told(done):
    assert "--accept-noncommercial" in done["refused"]
    assert "HEADWATER_ACCEPT_NONCOMMERCIAL" in done["refused"]
    assert "CC BY-NC 4.0" in done["first"][1]


def test_text_sides_ask_for_it_too(done, store, settings, encoder):
    with pytest.raises(LicenceNotAccepted):
        text_sides(store, settings)(encoder.spec.fingerprint, ["a dog"])
    accepted = settings.model_copy(update={"accept_noncommercial": True})
    found = text_sides(store, accepted)(encoder.spec.fingerprint, ["a dog"])
    np.testing.assert_allclose(found, encoder.embed_texts(["a dog"]), rtol=1e-4, atol=1e-4)


def test_every_modality_is_in_one_table(done, store, encoder):
    assert json.loads(done["first"][0])["embedded"] == 24 + 2 + 2 + 2 + 1 + 2
    assert store.assets.modalities() == {"image": 24, "audio": 1, "depth": 2, "thermal": 2, "imu": 2, "video": 2}
    features = store.features(encoder.spec.fingerprint)
    assert features.spec == encoder.spec
    for modality, files in recordings().items():
        for file, data in files.items():
            if file == "cut.gif":
                continue
            item = media.decode(data, modality)
            wanted = encoder.embed(encoder.prepare(item)[None], modality=media.modality_of(item)).vectors
            _, [stored] = features.get([asset_id(data)])
            np.testing.assert_allclose(stored, wanted[0], atol=1e-4)
    [video] = store.assets.get([asset_id(recordings()["video"]["wave.gif"])])
    assert (video.modality, video.media_type, video.seconds) == ("video", "image/gif", pytest.approx(2.5))


def test_vectors_over_http_are_the_same_alone_and_together(services, encoder, name):
    with Client(services.embedding_url, service="embedding", timeout=60) as client:
        for modality, files in recordings().items():
            items = list(files.values()) * 2
            found = client.embed(items, encoder=name, modality=modality)
            assert found.fingerprint == encoder.spec.fingerprint
            for data, item in zip(items, found.items, strict=True):
                if data == recordings()["video"]["cut.gif"]:
                    assert item.error.code == "unsupported"
                    continue
                decoded = media.decode(data, modality)
                kind = media.modality_of(decoded)
                wanted = encoder.embed(encoder.prepare(decoded)[None], modality=kind).vectors
                assert probe.cosines(item.vector[None], wanted).min() > 0.9999
        texts = client.embed_texts(["a dog", "a bird"], encoder=name)
    assert probe.cosines(texts, encoder.embed_texts(["a dog", "a bird"])).min() > 0.9999


@pytest.mark.parametrize(
    ("file", "modality"),
    [("voice.wav", None), ("walk.mp4", None), ("0.png", "depth"), ("1.csv", "imu"), ("wave.gif", "video")],
)
def test_a_head_of_photos_answers_anything(services, store, settings, encoder, file, modality):
    data = recordings()[modality][file]
    published = Registry(settings.heads).load("letters")
    _, stored = store.features(encoder.spec.fingerprint).get([asset_id(data)])
    assert stored.shape == (1, DIM)
    scores = published.head.scores(stored)[0]
    url = f"{services.classification_url}/classify?head=letters" + (f"&modality={modality}" if modality else "")
    [item] = httpx.post(url, files=[("images", (file, data))], timeout=60).raise_for_status().json()["items"]
    [answer] = item["answers"]
    assert answer["label"] == published.head.classes[int(np.argmax(scores))]
    proba = softmax(scores / (published.manifest.temperature or 1.0))
    assert answer["probability"] == pytest.approx(proba.max(), abs=1e-3)


def test_texts_find_any_modality(services, name):
    with Client(services.classification_url, timeout=60) as client:
        found = client.search(encoder=name, k=40, text="a waving flag")
    assert len(found.hits) == 33
