"""The embedding service: files that are stored by requests at once, and a backfill over HTTP."""

import asyncio
from pathlib import Path

import httpx
from helpers.blocks import Blocks
from helpers.pictures import photo

from embedder import registry
from services.embedding import create_app
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Item, Store

from ..door import Acknowledge, Door, State
from . import seen


class Service(Door):
    """Three clients store photos with labels at once; then a backfill embeds what was there before."""

    name = "http"
    modules = ("services.embedding", "httpx", "PIL.Image")
    ways = ("int", "term")

    def prepare(self, home: Path) -> None:
        ingest(Store.open(home / "db"), [Item(f"old {at}.png", photo(100 + at, 16, 12)) for at in range(4)])

    def run(self, home: Path, acknowledge: Acknowledge) -> None:
        registry.load = lambda *_, **__: Blocks()
        settings = Settings(
            store=str(home / "db"),
            heads=home / "heads",
            cache=home / "cache",
            encoders=("blocks",),
            log_level="CRITICAL",
        )
        asyncio.run(self._requests(settings, acknowledge))

    async def _requests(self, settings: Settings, acknowledge: Acknowledge) -> None:
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http,
        ):
            while (await http.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.005)
            await asyncio.gather(*(self._client(http, number, acknowledge) for number in range(3)))
            job = (await http.post("/v1/backfills", json={"encoder": "blocks"})).raise_for_status().json()
            while (status := (await http.get(f"/v1/backfills/{job['id']}")).json())["state"] in ("queued", "running"):
                await asyncio.sleep(0.01)
            assert status["state"] == "done", status
            table = Store.open(settings.store).features("blocks").table.name
            for id_ in Store.open(settings.store).assets.ids().to_pylist():
                acknowledge(f"{table}/{id_}")

    @staticmethod
    async def _client(http: httpx.AsyncClient, number: int, acknowledge: Acknowledge) -> None:
        for at in range(2):
            files = [("files", (f"{number}.png", photo(10 * number + 2 * at + each, 16, 12))) for each in range(2)]
            answer = await http.post("/v1/assets?encoder=blocks&task=t&label=x&split=train", files=files)
            for item in answer.raise_for_status().json()["items"]:
                acknowledge(f"assets/{item['id']}")
                acknowledge(f"labels/t/{item['id']}")

    def state(self, home: Path) -> State:
        return seen.of_store(Store.open(home / "db"))


DOORS = (Service,)
