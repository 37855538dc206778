"""Published weights: a file of another size or digest is refused, and an error's command is one that a shell runs."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from helpers.serving import answering
from huggingface_hub import constants

from embedder.errors import WeightsError, WeightsMissing
from embedder.weights.fetch import HubFile, WebFile, fetch

CONTENT = b"weights" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "weights.pt").write_bytes(CONTENT)
    return tmp_path / "weights.pt"


@pytest.mark.parametrize("sha256", ["", DIGEST[:8], DIGEST])
@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_whole_file_is_found(place, sha256, size):
    assert WebFile("file:///nowhere", place, sha256, size).cached() == place


@pytest.mark.parametrize("sha256", ["", DIGEST])
def test_a_truncated_file_is_refused_by_its_size(place, sha256):
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError) as caught:
        WebFile("file:///nowhere", place, sha256, len(CONTENT)).cached()
    assert str(caught.value) == f"{place} has 699 bytes, not 700; delete it and fetch it again"


@pytest.mark.parametrize("size", [None, len(CONTENT)])
def test_a_changed_file_is_refused_by_its_digest(place, size):
    changed = b"W" + CONTENT[1:]
    place.write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(WeightsError, match=f"its sha256 is {found}, not {DIGEST}; delete it and fetch it again"):
        WebFile("file:///nowhere", place, DIGEST, size).cached()


def test_a_download_of_another_size_is_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    source = WebFile(place.as_uri(), tmp_path / "cache" / "weights.pt", size=len(CONTENT) + 1)
    for _ in range(2):  # at the second time the file is there
        with pytest.raises(WeightsError, match="has 700 bytes, not 701; delete it"):
            fetch("a", [source], own="a@FILE")


def test_a_download_that_is_stopped_leaves_nothing_behind(place, tmp_path, monkeypatch):
    def stopped(url: str, path: str, **_: object) -> None:
        Path(f"{path}.1234.partial").write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("torch.hub.download_url_to_file", stopped)
    source = WebFile(place.as_uri(), tmp_path / "cache" / "weights.pt", DIGEST)
    with pytest.raises(KeyboardInterrupt):
        source.download()
    assert [path.name for path in source.place.parent.iterdir()] == ["weights.lock"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_command_for_an_address_is_one_that_a_shell_runs(place, tmp_path):
    source = WebFile(place.as_uri(), tmp_path / "a folder" / "weights.pt", DIGEST)
    subprocess.run(["sh", "-c", source.published().command], check=True, capture_output=True)
    assert source.cached() == source.place


class Hub(BaseHTTPRequestHandler):
    """A model hub whose repository has one file, ``second.bin``."""

    def do_HEAD(self):
        is_there = self.path.endswith("second.bin")
        self.send_response(200 if is_there else 404)
        self.send_header("X-Repo-Commit", "a" * 40)
        if is_there:
            self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("ETag", f'"{DIGEST}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    with answering(Hub) as url:
        yield url


def test_the_command_for_a_hub_fetches_the_name_that_the_repository_has(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    source = HubFile("someone/model", ("first.safetensors", "second.bin"))
    with pytest.raises(WeightsMissing) as caught:
        fetch("a", [source], own="a@FILE")
    (published,) = caught.value.published
    assert published.command in str(caught.value)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "PATH": programs}
    environment |= {"HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    subprocess.run(["sh", "-c", published.command], env=environment, check=True, capture_output=True)
    assert source.cached().read_bytes() == CONTENT


def test_a_command_quotes_what_a_shell_would_read_otherwise(tmp_path):
    url = "https://example.org/a?b=1&c=2"
    words = shlex.split(WebFile(url, tmp_path / "it's here").published().command)
    assert words[-2:] == [str(tmp_path / "it's here"), url]
