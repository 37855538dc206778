"""The disk under a running classification service fails: the answer names the fault, and all that it can do goes on."""

import asyncio
import shutil

import httpx
from helpers import disks

from services.classification import create_app
from services.settings import Settings


async def _ask(settings: Settings, act) -> None:
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await act(client)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json().get("error", {}).get("code", "")


def test_heads_on_a_disk_that_is_read_only_or_full(home, tmp_path):
    vectors = {"vectors": [[0.5] * 1280], "encoder": "lite0"}

    async def act(client: httpx.AsyncClient) -> None:
        body = {"alias": "prod", "version": "latest"}
        for fault, refused in ((disks.read_only, (503, "store_unavailable")), (disks.full, (507, "disk_full"))):
            with fault(heads):
                answer = await client.post("/heads/linear/alias", json=body)
                assert code(answer) == refused, answer.text
                assert "\n" not in answer.json()["error"]["message"]
                assert code(await client.post("/classify?head=linear", json=vectors)) == (200, "")
            assert code(await client.post("/heads/linear/alias", json=body)) == (200, "")
        assert not list(heads.rglob(".new-*"))

    with disks.small_disk(tmp_path / "disk", "60m") as disk:
        heads = disk / "heads"
        shutil.copytree(home.settings.heads, heads)
        asyncio.run(_ask(Settings(store="", heads=heads, log_level="ERROR"), act))


def test_a_store_that_is_removed_and_restored(home, tmp_path):
    folder = tmp_path / "headwater.db"
    shutil.copytree(home.settings.store, folder)
    body = {"ids": home.store.missing("0" * 64)[:2]}

    async def act(client: httpx.AsyncClient) -> None:
        assert code(await client.post("/classify?head=linear", json=body)) == (200, "")
        folder.rename(tmp_path / "away")
        for _ in range(2):
            answer = await client.post("/classify?head=linear", json=body)
            assert code(answer) == (503, "store_unavailable"), answer.text
            assert answer.headers["retry-after"]
        (tmp_path / "away").rename(folder)
        assert code(await client.post("/classify?head=linear", json=body)) == (200, "")

    asyncio.run(_ask(Settings(store=str(folder), heads=home.settings.heads, log_level="ERROR"), act))
