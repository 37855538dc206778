"""An encoder that the service cannot load: whoever asks whether it is ready reads why, and what the operator can do."""

import asyncio

import pytest

from services.embedding.state import EmbeddingService
from services.settings import Settings


async def failure_of(service: EmbeddingService) -> str:
    """Return why `service` does not become ready."""
    await service.start()
    try:
        async with asyncio.timeout(60):
            while not (failure := (await service.ready())[1]["failure"]):
                await asyncio.sleep(0.01)
    finally:
        await service.stop()
    return str(failure)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("imagebind/huge", "; set HEADWATER_ACCEPT_NONCOMMERCIAL=true"),
        ("lite0+mlcd-0123456789ab", "; HEADWATER_ADAPTERS names the folder of adapters"),
        ("nosuch", "known: lite0"),
    ],
)
def test_the_reason_comes_with_the_setting_that_helps(tmp_path, name, remedy):
    settings = Settings(store="", cache=tmp_path, adapters=tmp_path, encoders=(name,))
    failure = asyncio.run(failure_of(EmbeddingService(settings)))
    assert name in failure
    assert remedy in failure
    assert "HEADWATER" in remedy or "HEADWATER" not in failure
