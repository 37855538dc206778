"""Settings come from the environment and from options; wrong values are refused, and a misspelt name is reported."""

import json
import subprocess
import sys
import time

import httpx
import pytest
from pydantic import ValidationError

from embedder import registry
from embedder.encoders import melstat
from services.cli import options
from services.processes import free_ports
from services.settings import Settings, unknown_variables, variable


def test_the_environment_counts_and_options_win(monkeypatch):
    monkeypatch.setenv("HEADWATER_ENCODERS", "lite0, openclip/ViT-B-32/openai")
    monkeypatch.setenv("HEADWATER_MAX_BATCH", "8")
    assert Settings().encoders == ("lite0", "openclip/ViT-B-32/openai")
    assert options.settings(max_batch=4, host=None).max_batch == 4
    assert options.settings(host=None) == Settings()


def test_a_child_process_gets_the_same_settings(monkeypatch, tmp_path):
    settings = Settings(store="", heads=tmp_path, encoders=("a", "b"), max_items=3)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_ITEMS", "1000"),
        ("MAX_PIXELS", "0"),
        ("EMBEDDING_PORT", "70000"),
        ("EMBEDDING_TIMEOUT", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("BACKEND", "foo"),
        ("BACKEND", "openvino-cuda"),
    ],
)
def test_nonsense_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"HEADWATER_{name}", value)
    with pytest.raises(ValidationError):
        Settings()


def test_log_levels_in_any_case(monkeypatch):
    monkeypatch.setenv("HEADWATER_LOG_LEVEL", "warning")
    assert Settings().log_level == "WARNING"


def test_every_setting_is_explained():
    assert not [name for name, field in Settings.model_fields.items() if not (field.description or "")[:1].isupper()]


def test_a_real_name_is_no_warning_in_any_case():
    names = [variable(name) for name in Settings.model_fields]
    assert unknown_variables([*names, *(name.lower() for name in names), "HOME", "STROE", "HEAD_STROE"]) == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_misspelt_name_is_warned_of_with_the_right_one(name):
    """Two letters swapped, and one left out."""
    right = variable(name)
    for wrong in (right[:-3] + right[-2] + right[-3] + right[-1], right[:-2] + right[-1]):
        assert unknown_variables([wrong]) == [f"{wrong} is not a setting; did you mean {right}?"]


def test_a_name_of_another_program_is_named_without_a_guess():
    assert unknown_variables(["HEADWATER_TOOL_TOKEN"]) == ["HEADWATER_TOOL_TOKEN is not a setting; it is ignored"]


def test_a_service_logs_a_misspelt_name_when_it_starts(tmp_path):
    [port] = free_ports(1)
    settings = Settings(store="", heads=tmp_path, classification_port=port)
    environment = settings.environment() | {"HEADWATER_STROE": "elsewhere"}
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not _live(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.terminate()
        _, log = process.communicate(timeout=15)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if "STROE" in line["message"]]
    assert line["level"] == "warning"
    assert line["message"] == "HEADWATER_STROE is not a setting; did you mean HEADWATER_STORE?"


def _live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live").is_success
    except httpx.TransportError:
        return False


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
