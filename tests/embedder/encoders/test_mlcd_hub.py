"""mlcd/<id>: the hub's cache as `hf download` leaves it, and the error if weights are missing."""

import socket

import pytest
from helpers.towers import mlcd
from huggingface_hub import constants

from embedder import registry
from embedder.encoders.mlcd import CONFIGS, ModelConfig, blueprint
from embedder.errors import UnknownEncoder, WeightsError


@pytest.mark.parametrize("name", ["mlcd/nonesuch", "mlcd/huge@folder"])
def test_unknown_names(name):
    with pytest.raises(UnknownEncoder, match="mlcd/base-patch32-224"):
        registry.load(name)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return an empty cache of the hub. Any access to the network fails the test."""

    def refuse(*_, **__):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert constants.HF_HUB_OFFLINE
    return tmp_path / "hub"


@pytest.mark.parametrize("identity", CONFIGS)
def test_missing_weights_tell_the_command(hub, identity):
    with pytest.raises(WeightsError, match=f"hf download DeepGlint-AI/mlcd-vit-{identity}\\. .*@FOLDER"):
        registry.load(f"mlcd/{identity}")


def test_the_hubs_cache_is_used_without_network(hub, monkeypatch):
    """The layout that `hf download` leaves is used. Half of it, as other programs may leave, counts as missing."""
    monkeypatch.setitem(CONFIGS, "tiny", ModelConfig("someone/tiny", 56, 14, 64))
    commit = "0" * 40
    snapshot = hub / "models--someone--tiny" / "snapshots" / commit
    mlcd(snapshot)
    (hub / "models--someone--tiny" / "refs").mkdir()
    (hub / "models--someone--tiny" / "refs" / "main").write_text(commit)
    assert blueprint("mlcd/tiny").spec == blueprint(f"mlcd@{snapshot}").spec
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"hf download someone/tiny|no checkpoint"):
        blueprint("mlcd/tiny")
