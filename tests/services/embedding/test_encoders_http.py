"""Encoders are loaded and unloaded over HTTP, by admins only."""

import time

import pytest
from helpers.pictures import photo

from services.client import Client
from services.processes import free_ports, running
from services.settings import Settings
from services.web.access.keys import Role, make
from services.web.errors import RemoteProblem


@pytest.fixture(scope="module")
def clients(tmp_path_factory, cache_dir):
    """A client of an admin, and one of a key that may only read."""
    folder, keys = tmp_path_factory.mktemp("encoders"), [make("admin", Role.admin), make("reader", Role.read)]
    ports = dict(zip(("embedding_port", "classification_port"), free_ports(2), strict=True))
    settings = Settings(
        store="",
        heads=folder / "heads",
        jobs=folder / "jobs",
        cache=cache_dir,
        encoders=("melstat",),
        keys=tuple(key.line for _, key in keys),
        embedding_key=keys[0][0],
        **ports,
    )
    with running(settings) as started:
        clients = [Client(started.embedding_url, service="embedding", key=secret, timeout=60) for secret, _ in keys]
        yield clients
        for client in clients:
            client.close()


def refused(call, *arguments) -> tuple[int, str]:
    with pytest.raises(RemoteProblem) as caught:
        call(*arguments)
    return caught.value.status, caught.value.code


def test_an_admin_loads_uses_and_unloads_an_encoder(clients):
    admin, reader = clients
    assert refused(reader.load_encoder, "lite0") == (403, "role_too_low")
    assert refused(admin.load_encoder, "nosuch") == (404, "unknown_encoder")
    assert refused(admin.load_encoder, "openclip/x@/etc/passwd") == (403, "encoder_not_allowed")
    assert admin.load_encoder("lite0").state == "loading"
    deadline = time.monotonic() + 60
    while admin.load_encoder("lite0").state == "loading":
        assert time.monotonic() < deadline
        assert admin.ready()["failure"] is None
    admin.embed([photo(1, 64, 64, "JPEG")] * 3, encoder="lite0")
    shown = {each.name: each for each in reader.encoders()}
    assert shown["lite0"].items_per_second == pytest.approx(3 / 60, abs=1e-3)
    assert (shown["lite0"].device, shown["lite0"].precision is None) == ("cpu", False)
    assert shown["lite0"].bytes > 10**6
    assert shown["lite0"].dim == 1280
    assert refused(reader.unload_encoder, "lite0") == (403, "role_too_low")
    assert admin.unload_encoder("lite0").state == "unloaded"
    assert [each.name for each in reader.encoders()] == ["melstat"]
    assert refused(admin.unload_encoder, "lite0") == (404, "unknown_encoder")
    with pytest.raises(RemoteProblem, match="lite0"):
        reader.embed([photo(1, 64, 64, "JPEG")], encoder="lite0")
