"""Encoders come and go while a service runs: the others answer, memory is freed, and limits hold."""

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from threading import Event

import pytest
from helpers.pictures import photo

from embedder import registry
from embedder.errors import UnknownEncoder
from services.embedding.encoders import Encoders
from services.embedding.state import EmbeddingService
from services.settings import Settings
from services.web.errors import EncoderBusy, EncoderNotAllowed, EncodersFull, NotReady
from services.web.wire import Upload

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Growing:
    """A process that grows by 100 bytes with every measurement after a load."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, int]:
        self.calls += 1
        return {"cpu": 100 * (self.calls // 2)}


@asynccontextmanager
async def started(tmp_path, *, encoders=("melstat",), clock=None, measure=None, **settings):
    service = EmbeddingService(Settings(store="", cache=tmp_path, adapters=tmp_path, encoders=encoders, **settings))
    if clock or measure:
        given = {"clock": clock, "measure": measure}
        service.encoders = Encoders(
            *(service.settings, service._make, service.backfills.encoders, service.metrics.encoder_unloaded),
            **{name: each for name, each in given.items() if each},
        )
    await service.start()
    await service.encoders.loaded()
    try:
        yield service
    finally:
        await service.stop()


def states(service) -> dict[str, str]:
    return {held.name: held.state for held in service.encoders.all()}


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_an_encoder_answers_while_another_one_loads(tmp_path, monkeypatch):
    """The load goes on until the test lets it, so every answer is given while it is under way."""
    go_on, load = Event(), registry.load

    async def test():
        async with started(tmp_path, encoders=("lite0",)) as service:
            monkeypatch.setattr(registry, "load", lambda name, **given: go_on.wait(30) and load(name, **given))
            service.encoders.ask("melstat")
            assert service.encoders.ask("melstat").state == "loading"
            for _ in range(5):
                batch = await service.embed([Upload("a.jpg", photo(1, 64, 64, "JPEG"))], encoder="lite0")
                assert batch.items[0].vector is not None
                assert states(service) == {"lite0": "ready", "melstat": "loading"}
            assert (await service.ready())[0]
            with pytest.raises(NotReady, match="still loading"):
                service.worker("melstat")
            with pytest.raises(EncoderBusy, match="still loading"):
                await service.encoders.remove("melstat")
            go_on.set()
            await service.encoders.loaded()
            assert service.worker("melstat").encoder.name == "melstat"

    run(test())


def test_a_removed_encoder_answers_what_waits_and_leaves_no_network_behind(tmp_path):
    async def test():
        async with started(tmp_path, encoders=("lite0",)) as service:
            network = weakref.ref(service.worker("lite0").encoder)
            waiting = asyncio.create_task(
                service.embed([Upload("a.jpg", photo(1, 64, 64, "JPEG"))] * 40, encoder="lite0")
            )
            while not service.worker("lite0").waiting:
                await asyncio.sleep(0)
            await service.encoders.remove("lite0")
            assert all(item.vector is not None for item in (await waiting).items)
            del waiting
            gc.collect()
            assert network() is None
            with pytest.raises(UnknownEncoder):
                service.worker("lite0")
            with pytest.raises(UnknownEncoder):
                await service.encoders.remove("lite0")

    run(test())


def test_an_idle_encoder_is_unloaded_and_loaded_again_by_the_next_request(tmp_path):
    clock = Clock()

    async def test():
        async with started(tmp_path, clock=clock, encoder_idle_seconds=60) as service:
            fingerprint = service.worker("melstat").encoder.spec.fingerprint
            clock.now = 59.0
            await service.encoders.sweep()
            assert states(service) == {"melstat": "ready"}
            clock.now = 60.0
            await service.encoders.sweep()
            assert states(service) == {"melstat": "unloaded"}
            assert (await service.ready())[0]
            with pytest.raises(NotReady, match="still loading"):
                service.worker(fingerprint)
            await service.encoders.loaded()
            assert service.worker(fingerprint).encoder.name == "melstat"

    run(test())


def test_the_least_recently_used_encoder_makes_room(tmp_path):
    clock = Clock()

    async def test():
        async with started(
            tmp_path, encoders=("melstat", "lite0"), clock=clock, measure=Growing(), encoder_bytes=200
        ) as service:
            assert [held.size for held in service.encoders.all()] == [100, 100]
            clock.now = 1.0
            service.worker("melstat")
            service.encoders.ask("lite1")
            await service.encoders.loaded()
            assert states(service) == {"melstat": "ready", "lite0": "unloaded", "lite1": "ready"}

    run(test())


def test_an_encoder_that_does_not_fit_fails_and_the_service_stays_ready(tmp_path):
    async def test():
        async with started(tmp_path, measure=Growing(), encoder_bytes=150) as service:
            service.encoders._in_use = lambda: {"melstat"}
            held = service.encoders.ask("lite1")
            await service.encoders.loaded()
            assert held.state == "failed"
            assert "needs 100 bytes on the cpu device" in held.failure
            assert states(service)["melstat"] == "ready"
            assert await service.ready() == (True, {"encoders": ["melstat"], "failure": None})
            with pytest.raises(EncoderBusy, match="a backfill uses it"):
                await service.encoders.remove("melstat")

    run(test())


@pytest.mark.parametrize(
    "name",
    [
        "openclip/ViT-B-32@/etc/passwd",
        "openclip@folder",
        "mlcd@x",
        "openclip/../secret/x",
        "openclip//etc/x",
        "timm/a@b",
    ],
)
def test_names_that_read_files_are_refused(tmp_path, name):
    async def test():
        async with started(tmp_path) as service:
            with pytest.raises(EncoderNotAllowed, match="HEADWATER_ALLOWED_ENCODERS"):
                service.encoders.ask(name)
            assert states(service) == {"melstat": "ready"}

    run(test())


def test_only_names_of_the_operators_list_are_allowed_if_there_is_one(tmp_path):
    async def test():
        async with started(tmp_path, allowed_encoders="openclip@/models/*, lite*", max_encoders=2) as service:
            with pytest.raises(EncoderNotAllowed):
                service.encoders.ask("mlcd/x")
            with pytest.raises(EncoderNotAllowed):
                service.encoders.ask("openclip@/models/../../etc")
            held = service.encoders.ask("openclip@/models/secret folder/tiny")
            await service.encoders.loaded()
            assert held.state == "failed"
            with pytest.raises(EncodersFull, match="melstat, openclip@"):
                service.encoders.ask("lite0")

    run(test())


def test_a_licence_that_is_not_accepted_is_a_reason_without_a_path(tmp_path):
    async def test():
        async with started(tmp_path) as service:
            held = service.encoders.ask("imagebind/huge")
            await service.encoders.loaded()
            assert "set HEADWATER_ACCEPT_NONCOMMERCIAL=true" in held.failure
            assert str(tmp_path) not in held.failure
            assert (await service.ready())[0]

    run(test())
