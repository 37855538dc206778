"""GET /health/ready of the classification service, one capability at a time; the embedding service is killed."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.classification import create_app
from services.client import Client
from services.processes import free_ports, running
from services.settings import Settings
from services.web.errors import RemoteProblem


def moved(settings: Settings) -> Settings:
    embedding, classification = free_ports(2)
    return settings.model_copy(update={"embedding_port": embedding, "classification_port": classification})


def ready(url: str, *needs: str) -> tuple[int, dict]:
    response = httpx.get(f"{url}/health/ready", params={"needs": list(needs)}, timeout=30)
    return response.status_code, response.json()


def states(body: dict) -> dict[str, bool]:
    return {name: body[name]["ready"] for name in ("heads", "vectors", "ids", "media")}


@contextmanager
def embedding_service(settings: Settings) -> Iterator[None]:
    command = [sys.executable, "-m", "services.cli", "serve", "embedding"]
    process = subprocess.Popen(command, env=settings.environment())
    try:
        yield
    finally:
        process.terminate()
        process.wait(15)


def test_media_come_and_go_with_the_embedding_service_and_all_else_stays(home, photos):
    settings = moved(home.settings)
    [known] = home.store.missing("0" * 64)[:1]
    _, [vector] = home.store.features("lite0").get([known])
    body = {"vectors": [vector.tolist()], "encoder": "lite0"}
    with running(settings) as services, Client(services.classification_url, timeout=30) as client:
        url = services.classification_url
        status, told = ready(url, "heads", "vectors", "ids", "media")
        assert (status, told["ready"], told["reason"]) == (200, True, None)
        assert all(states(told).values())
        services.processes["embedding"].kill()
        services.processes["embedding"].wait()

        status, told = ready(url)
        assert (status, told["ready"], told["reason"]) == (200, True, None)
        assert states(told) == {"heads": True, "vectors": True, "ids": True, "media": False}
        assert f"the embedding service at {services.embedding_url}" in told["media"]["reason"]
        assert ready(url, "ids", "vectors")[0] == 200
        assert client.classify_ids([known], heads=["gaussian"]).items[0].answers
        assert httpx.post(f"{url}/classify?head=gaussian", json=body).json()["items"][0]["answers"]

        for needs in (["media"], ["ids", "media"]):
            status, told = ready(url, *needs)
            assert (status, told["ready"]) == (503, False)
            assert told["reason"] == f"media: {told['media']['reason']}"
        with pytest.raises(RemoteProblem, match=r"^media: the embedding service at .* does not answer") as raised:
            client.ready(needs=["media"])
        assert (raised.value.status, raised.value.code) == (503, "not_ready")
        assert client.ready(needs=["ids"])["ready"]

        with embedding_service(settings):
            deadline = time.monotonic() + 120
            while ready(url, "media")[0] != 200 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert all(states(ready(url, "media")[1]).values())
            assert client.classify(photos[:1], heads=["gaussian"]).items[0].answers


def test_a_health_check_of_three_seconds_sees_that_the_embedding_service_hangs(home):
    with running(moved(home.settings)) as services:
        services.processes["embedding"].send_signal(signal.SIGSTOP)
        try:
            response = httpx.get(f"{services.classification_url}/health/ready", timeout=3)
        finally:
            services.processes["embedding"].send_signal(signal.SIGCONT)
    assert response.status_code == 200
    assert not response.json()["media"]["ready"]


def told_by(settings: Settings, *needs: str) -> tuple[int, dict]:
    async def ask() -> httpx.Response:
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            return await http.get("/health/ready", params={"needs": list(needs)})

    response = asyncio.run(ask())
    return response.status_code, response.json()


@pytest.fixture
def lonely(tmp_path) -> Settings:
    """A service without a head, a store or an embedding service."""
    [port] = free_ports(1)
    return Settings(store="", heads=tmp_path / "heads", embedding_url=f"http://127.0.0.1:{port}", log_level="CRITICAL")


def test_a_service_that_starts_before_any_head_is_ready(lonely):
    status, told = told_by(lonely)
    assert (status, states(told)) == (200, {"heads": True, "vectors": True, "ids": False, "media": False})
    assert "no head in" in told["heads"]["reason"]
    assert "no store" in told["ids"]["reason"]


def test_ids_wait_for_a_store_that_is_there(lonely, home, tmp_path):
    later = lonely.model_copy(update={"store": str(tmp_path / "later.db")})
    status, told = told_by(later, "ids")
    assert (status, told["reason"]) == (503, f"ids: there is no store at {tmp_path / 'later.db'} yet")
    (tmp_path / "later.db").mkdir()
    assert told_by(later, "ids")[0] == 200
    (tmp_path / "file").write_text("no store")
    assert told_by(lonely.model_copy(update={"store": str(tmp_path / "file")}), "ids")[0] == 503
    assert told_by(lonely.model_copy(update={"store": home.settings.store}), "ids", "vectors")[0] == 200


def test_heads_that_cannot_be_read_make_nothing_ready(lonely, tmp_path):
    class Unreadable(Path().__class__):
        """A folder whose permissions forbid a listing; root, as which tests may run, may list any."""

        def iterdir(self):
            raise PermissionError(13, "Permission denied")

    app = create_app(lonely)
    app.state.service.registry.root = Unreadable(tmp_path)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return await http.get("/health/ready")

    response = asyncio.run(ask())
    assert response.status_code == 503
    assert not any(states(response.json()).values())
    assert "Permission denied" in response.json()["reason"]


def test_a_capability_that_does_not_exist_is_refused(lonely):
    status, told = told_by(lonely, "pictures")
    assert (status, told["error"]["code"]) == (422, "bad_request")
    assert "'media'" in told["error"]["message"]
