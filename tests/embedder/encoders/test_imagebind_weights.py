"""ImageBind's licence and published weights: accepted or refused; cached, downloaded or missing."""

import hashlib
import logging
import subprocess
import sys

import pytest
from helpers.binds import build, save
from helpers.paths import ROOT
from huggingface_hub import constants

from embedder import registry
from embedder.encoders import imagebind
from embedder.errors import LicenceNotAccepted, WeightsError


def test_nothing_happens_before_the_licence_is_accepted(tmp_path):
    with pytest.raises(LicenceNotAccepted, match="not commercial") as caught:
        registry.load("imagebind/huge", cache_dir=tmp_path)
    assert "CC BY-NC 4.0" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_notice_comes_once(tmp_path, caplog):
    path = save(build(), tmp_path / "small.pth")
    for _ in range(2):
        registry.load(f"imagebind/huge@{path}", cache_dir=tmp_path / "cache", accept_noncommercial=True)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "CC BY-NC 4.0" in caplog.text


def test_weights_that_are_missing_offline(tmp_path):
    assert constants.HF_HUB_OFFLINE
    with pytest.raises(WeightsError) as caught:
        imagebind.blueprint("imagebind/huge", tmp_path / "my cache")
    told = str(caught.value)
    assert f"curl -L --create-dirs -o '{tmp_path / 'my cache' / 'imagebind_huge.pth'}' {imagebind.URL}" in told
    assert "offline" in told


def publish(monkeypatch, tmp_path, model):
    """Publish a small model at a local address."""
    path = save(model, tmp_path / "published.pth")
    monkeypatch.setattr(imagebind, "URL", path.as_uri())
    monkeypatch.setattr(imagebind, "SIZE", path.stat().st_size)
    monkeypatch.setattr(imagebind, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_weights_are_fetched_once_and_checked_each_time(tmp_path, monkeypatch):
    source = publish(monkeypatch, tmp_path, build())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    found = imagebind._published(tmp_path / "cache")
    assert found.read_bytes() == source.read_bytes()
    source.unlink()
    assert imagebind._published(tmp_path / "cache") == found
    damaged = bytearray(found.read_bytes())
    damaged[1000] ^= 1
    found.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"is damaged: its sha256 is .* delete it"):
        imagebind._published(tmp_path / "cache")
    found.write_bytes(damaged[:-1])
    with pytest.raises(WeightsError, match=r"bytes, not .* delete it"):
        imagebind._published(tmp_path / "cache")


def test_a_download_that_fails_or_is_another_file_leaves_nothing(tmp_path, monkeypatch):
    source = publish(monkeypatch, tmp_path, build())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    source.write_bytes(source.read_bytes()[:-5])
    with pytest.raises(WeightsError, match=r"could not be fetched.*curl"):
        imagebind._published(tmp_path / "cache")
    source.unlink()
    with pytest.raises(WeightsError, match=r"could not be fetched.*curl"):
        imagebind._published(tmp_path / "cache")
    assert not (tmp_path / "cache" / "imagebind_huge.pth").exists()


def test_without_the_extra_the_missing_package_is_named(tmp_path):
    code = f"""
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "imagebind" else real(name, *a)
from pathlib import Path
from embedder.encoders import imagebind
try:
    imagebind.blueprint("imagebind/huge", Path({str(tmp_path)!r}))
except ModuleNotFoundError as error:
    print(error.name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "imagebind", done.stderr


def test_importing_it_imports_no_video_library():
    code = (
        "import sys; from embedder.encoders import imagebind; imagebind.library('models.imagebind_model'); "
        "print([m for m in ('pytorchvideo', 'decord', 'torchaudio', 'imagebind.data', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
