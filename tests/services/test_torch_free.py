"""The classification service, the client and the command line run where torch is not installed."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "open_clip", "transformers", "openvino", "sklearn", "scipy", "faiss")

SLOW = ("lancedb", "pandas", "aiohttp", "httpx", "fastapi")
"""Modules that only some commands need, and that take longer to import than such a command may take to start."""

WITHOUT = f"""
import importlib.abc, sys

HEAVY = {HEAVY!r}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Missing())
"""

ANSWER_ONE = """
import asyncio
import httpx
from services.classification import create_app
from services.settings import Settings

async def ask():
    app = create_app(Settings(heads={heads!r}, store={store!r}))
    async with app.router.lifespan_context(app), httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        vectors = await client.post("/classify?head=gaussian", json={{"vectors": [[0.5] * 1280], "encoder": "lite0"}})
        ids = await client.post("/classify?head=linear", json={{"ids": [{known!r}]}})
        return vectors.json()["items"][0]["answers"], ids.json()["items"][0]["answers"]

assert all(asyncio.run(ask()))
assert not [name for name in HEAVY if name in sys.modules]
"""


def run(code: str, exit_code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == exit_code, done.stderr
    return done.stderr


def test_the_classification_service_answers_without_torch(home):
    [known] = home.store.missing("0" * 64)[:1]
    run(WITHOUT + ANSWER_ONE.format(heads=str(home.settings.heads), store=home.settings.store, known=known))


def test_without_a_store_lancedb_is_not_imported_either(home):
    run(
        "import sys; from services.classification import create_app; from services.settings import Settings;"
        f"create_app(Settings(store='', heads={str(home.settings.heads)!r}));"
        f"assert not [name for name in {(*HEAVY, 'lancedb', 'lance')!r} if name in sys.modules]"
    )


def test_the_command_line_shows_its_help_without_torch_and_what_is_slow_to_import():
    run(
        "import sys; sys.argv = ['headwater', '--help']\n"
        "from services.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"assert not [name for name in {(*HEAVY, *SLOW)!r} if name in sys.modules]"
    )


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("backfill", "embedding"),
        ("train --task t --name n", "train"),
        ("cluster --task t", "cluster"),
        ("adapt", "embedding"),
    ],
)
def test_a_command_that_needs_more_says_what_to_install(home, command, extra):
    arguments = ["headwater", *command.split(), "--store", home.settings.store]
    told = run(f"{WITHOUT}\nsys.argv = {arguments!r}\nfrom services.cli import main\nmain()", exit_code=1)
    assert f"headwater[{extra}]" in told.replace("\n", "")
    assert "Traceback" not in told
