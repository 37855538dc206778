"""The classification service, the client and the CLI run where torch is not installed."""

import subprocess
import sys

HEAVY = ("torch", "torchvision", "timm", "open_clip", "transformers", "openvino", "sklearn", "scipy")

ANSWER_ONE = """
import asyncio, importlib.abc, sys

HEAVY = {heavy!r}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())

import httpx
from services.classification import create_app
from services.settings import Settings

async def ask():
    app = create_app(Settings(heads={heads!r}, store={store!r}))
    async with app.router.lifespan_context(app), httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        vectors = await client.post("/classify?head=gaussian", json={{"vectors": [[0.5] * 1280], "encoder": "lite0"}})
        ids = await client.post("/classify?head=linear", json={{"ids": [{known!r}]}})
        return vectors.json()["items"][0]["answers"], ids.json()["items"][0]["answers"]

assert all(asyncio.run(ask()))
assert not [name for name in HEAVY if name in sys.modules]
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_classification_service_answers_without_torch(home):
    [known] = home.store.missing("0" * 64)[:1]
    run(ANSWER_ONE.format(heavy=HEAVY, heads=str(home.settings.heads), store=home.settings.store, known=known))


def test_without_a_store_lancedb_is_not_imported_either(home):
    run(
        "import sys; from services.classification import create_app; from services.settings import Settings;"
        f"create_app(Settings(store='', heads={str(home.settings.heads)!r}));"
        f"assert not [name for name in {(*HEAVY, 'lancedb', 'lance')!r} if name in sys.modules]"
    )


def test_the_command_line_shows_its_help_without_torch():
    run(
        "import sys; sys.argv = ['headwater', '--help']\n"
        "from services.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"assert not [name for name in {(*HEAVY, 'lancedb')!r} if name in sys.modules]"
    )
