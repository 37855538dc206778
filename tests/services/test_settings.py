"""Settings: from the environment, under what is given; nonsense is refused with the reason."""

import pytest
from pydantic import ValidationError

from embedder import registry
from embedder.encoders import melstat
from services.cli import output
from services.settings import Settings


def test_the_environment_counts_and_options_win(monkeypatch):
    monkeypatch.setenv("HEADWATER_ENCODERS", "lite0, openclip/ViT-B-32/openai")
    monkeypatch.setenv("HEADWATER_MAX_BATCH", "8")
    assert Settings().encoders == ("lite0", "openclip/ViT-B-32/openai")
    assert output.settings(max_batch=4, host=None).max_batch == 4
    assert output.settings(host=None) == Settings()


def test_a_child_process_gets_the_same_settings(monkeypatch, tmp_path):
    settings = Settings(store="", heads=tmp_path, encoders=("a", "b"), max_items=3)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_ITEMS", "1000"), ("MAX_PIXELS", "0"), ("EMBEDDING_PORT", "70000"), ("EMBEDDING_TIMEOUT", "0")],
)
def test_nonsense_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"HEADWATER_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_every_entry_point_has_one_cache_folder(monkeypatch, tmp_path, platform):
    """The command line and services by their settings, a Python program by the registry."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HEADWATER_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", platform)
    folders = []
    monkeypatch.setattr(melstat, "load", lambda name, *, backend, cache_dir, threads: folders.append(cache_dir))
    registry.load("melstat")
    assert folders == [Settings().cache]
    assert folders[0].is_relative_to(tmp_path)
