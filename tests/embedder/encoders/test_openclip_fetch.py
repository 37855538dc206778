"""openclip/… offline: the network is not used, and an error names missing weights and the command that fetches them."""

import hashlib
import os
import re
import shlex
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
from helpers import clips
from helpers.serving import answering
from open_clip import pretrained

from embedder import registry
from embedder.encoders import openclip
from embedder.errors import CheckpointNotTrusted, UnknownEncoder, WeightsError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    clips.register(folder)
    return folder


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """Make the caches of the hub and of open_clip empty."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))


@pytest.fixture
def asked(monkeypatch):
    """Return a list of all attempts to use the network, each of which fails."""
    attempts = []

    def refuse(*args, **_):
        attempts.append(args)
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


@pytest.fixture(scope="module")
def weights(home):
    return {name: clips.save(clips.make("tiny-quickgelu"), home / name) for name in ("tiny.safetensors", "archive.pt")}


class Hub(BaseHTTPRequestHandler):
    """Answers as a model hub and a plain web server do for one file."""

    content = b""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(weights):
    handler = type("Handler", (Hub,), {"content": weights["tiny.safetensors"].read_bytes()})
    with answering(handler) as url:
        yield url


def missing(name):
    with pytest.raises(WeightsError) as caught:
        openclip.blueprint(name)
    return str(caught.value)


def test_what_is_in_a_cache_is_used_without_asking(home, tmp_path, monkeypatch, asked):
    """This holds without offline mode, too: a hub's client would try the network for a minute."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"hf_hub": "someone/clip/weights.pt"}})
    clips.save(clips.make("tiny"), hub_place(tmp_path) / "weights.pt")
    assert openclip.blueprint("tiny/t").spec.dim == 24
    assert not asked


def hub_place(tmp_path):
    """Return the folder in which the hub's client keeps files of someone/clip."""
    repository = tmp_path / "hf" / "hub" / "models--someone--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_hub_that_cannot_be_reached_is_said(home, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"url": "http://127.0.0.1:1/tiny.pt"}})
    told = missing("tiny/t")
    assert "refused" in told
    assert "tiny.pt http://127.0.0.1:1/tiny.pt. Elsewhere" in told  # no digest in such an address


def test_offline_no_network_is_asked(home, asked, monkeypatch):
    url_only = {"url": "https://openaipublic.azureedge.net/clip/models/abc/tiny.pt"}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"url": url_only})
    for name in (
        "ViT-B-32/openai",
        "RN50/openai",
        "ViT-B-16-SigLIP/webli",
        "coca_ViT-B-32/laion2b_s13b_b90k",
        "tiny/url",
    ):
        assert "internet access run: " in missing(name)
    assert not asked


def test_the_command_for_a_hub_puts_the_weights_where_they_are_found(home, hub, tmp_path, monkeypatch, asked):
    record = pretrained.get_pretrained_cfg("ViT-B-32", "openai")
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"openai": record})
    told = missing("tiny/openai")
    command = re.search(r"run: (hf download \S+ \S+)", told)[1]
    assert command == "hf download timm/vit_base_patch32_clip_224.openai open_clip_model.safetensors"
    assert "openclip/tiny@FILE" in told
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    words = [str(Path(sys.executable).parent / "hf"), *shlex.split(command)[1:]]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    assert openclip.blueprint("tiny/openai").spec.activation == "quickgelu"
    assert not asked


@pytest.mark.parametrize("file", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"])
def test_either_file_of_a_hub_is_found_in_its_cache(home, weights, tmp_path, monkeypatch, file):
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"hf_hub": "someone/clip/", "quick_gelu": True}})
    assert "|| hf download someone/clip open_clip_pytorch_model.bin" in missing("tiny/t")
    clips.save(clips.make("tiny-quickgelu"), hub_place(tmp_path) / file)
    assert (
        openclip.blueprint("tiny/t").spec
        == openclip.blueprint(f"tiny-quickgelu@{weights['archive.pt']}", trusted=True).spec
    )


def test_the_command_for_an_address_puts_the_weights_where_they_are_found(home, weights, tmp_path, monkeypatch):
    content = weights["archive.pt"].read_bytes()
    url = f"https://openaipublic.azureedge.net/clip/models/{hashlib.sha256(content).hexdigest()}/tiny.pt"
    record = pretrained.get_pretrained_cfg("ViT-B-32", "openai") | {"url": url}
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"openai": record})
    told = missing("tiny/openai")
    words = shlex.split(re.search(r"or: (curl .+?)\. Elsewhere", told)[1])
    assert (words[0], words[-1]) == ("curl", url)
    place = Path(words[words.index("-o") + 1])
    assert place.is_relative_to(tmp_path)
    place.parent.mkdir(parents=True)  # as --create-dirs
    place.write_bytes(content)
    with pytest.raises(CheckpointNotTrusted):
        openclip.blueprint("tiny/openai")
    assert (
        openclip.blueprint("tiny/openai", trusted=True).spec
        == openclip.blueprint(f"tiny-quickgelu@{weights['archive.pt']}", trusted=True).spec
    )
    place.write_bytes(content[:-1])
    assert "delete it and fetch it again" in missing("tiny/openai")


def test_all_pretrained_pairs_have_a_command():
    for model, tag in open_clip.list_pretrained():
        record = pretrained.get_pretrained_cfg(model, tag)
        assert record["hf_hub"] or record["url"]


def test_missing_tokenisers_and_text_towers_have_a_command(home, asked, monkeypatch, tmp_path):
    config = clips.CONFIGS["tiny"]
    other = {
        "words": config | {"text_cfg": clips.TEXT | {"hf_tokenizer_name": "someone/words"}},
        "bert": config | {"text_cfg": {"hf_model_name": "someone/bert", "hf_tokenizer_name": "someone/bert"}},
    }
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", open_clip.factory._MODEL_CONFIGS | other)
    clips.save(clips.make("tiny"), tmp_path / "tiny.pt")
    assert "hf download someone/words --include '*.json'" in missing(f"words@{tmp_path / 'tiny.pt'}")
    assert "hf download someone/bert --include config.json" in missing(f"bert@{tmp_path / 'tiny.pt'}")
    assert not asked
    assert openclip.blueprint(f"words@{tmp_path / 'tiny.pt'}:pooled").spec.text is None  # needs no tokeniser


def test_registry_names(home):
    assert "openclip@<folder>" in registry.names()
    for name in ("openclip@", "openclip@/no/such/folder"):
        with pytest.raises((UnknownEncoder, WeightsError), match=r"openclip@"):
            registry.load(name)
