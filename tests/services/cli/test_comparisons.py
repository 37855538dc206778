"""What `headwater compare` prints: the command that trains a candidate, and the difference of two heads."""

import hashlib
import io
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from classifiers.compare.candidates import parse
from classifiers.compare.family import ONE_CLASS
from classifiers.evaluation.paired import Difference, Pair
from embedder.media import Limits
from services.cli import comparisons
from services.cli.comparisons import show_pair, shown_assets, train_command
from store import Asset, Store


def test_the_command_trains_the_candidate():
    [candidate] = parse("gaussian dims=0.9 project=pca 'priors={\"a\": 1}' @ lite0", ["lite0"])
    words = shlex.split(train_command(candidate, "my task!", ["--store", "x y"]))
    assert words[:8] == ["headwater", "train", "--task", "my task!", "--name", "my-task", "--kind", "gaussian"]
    assert words[8:] == [
        "--encoder",
        "lite0",
        "--set",
        "dims=0.9",
        "--set",
        "project=pca",
        "--set",
        'priors={"a": 1}',
        "--store",
        "x y",
    ]


def test_a_difference_that_rounds_to_zero_has_no_minus(capsys):
    tiny = Difference(-1e-6, -2e-6, 1e-6, 0.5)
    trial = SimpleNamespace(candidate=SimpleNamespace(label="gaussian @ lite0"), outcomes=[0])
    comparison = SimpleNamespace(pair=lambda *_: (trial, trial, Pair(tiny, tiny)), family=ONE_CLASS)
    show_pair(comparison, ("1", "2"), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines if "A - B" in line] == [
        "0.0 (0.0 to 0.0)",
        "0.0000 (0.0000 to 0.0000)",
    ]


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "db")


def photo(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (60, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def add(store, name, data, modality="image", media_type="image/png") -> str:
    id_ = hashlib.sha256(data).hexdigest()
    store.assets.add([Asset(id_, f"/srv/private/{name}", modality, media_type, content=data)])
    return id_


def test_a_report_shows_photos_in_small_and_other_assets_by_name_without_folders(store):
    good, broken = add(store, "good.png", photo(0)), add(store, "broken.png", photo(1)[:200])
    sound = add(store, "sound.wav", b"RIFF....", "audio", "audio/wav")
    found = shown_assets(store, Limits(), [good, broken, sound, "0" * 64])
    assert {id_: each.name for id_, each in found.items()} == {
        good: "good.png",
        broken: "broken.png",
        sound: "sound.wav",
    }
    assert (found[broken].jpeg, found[sound].jpeg) == (b"", b"")
    small = Image.open(io.BytesIO(found[good].jpeg))
    assert (small.format, small.size) == ("JPEG", (128, 26))


def test_the_photos_of_a_report_have_a_limit_together(store, monkeypatch):
    ids = [add(store, f"{number}.png", photo(number)) for number in range(4)]
    alone = [len(shown_assets(store, Limits(), [id_])[id_].jpeg) for id_ in ids]
    monkeypatch.setattr(comparisons, "PHOTOS_BYTES", sum(alone[:2]))
    found = shown_assets(store, Limits(), ids)
    assert [bool(found[id_].jpeg) for id_ in ids] == [True, True, False, False]
    assert len(found) == 4
