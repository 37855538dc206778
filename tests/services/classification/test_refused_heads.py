"""A damaged head is refused with the reason, at start and later; all other heads go on answering."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from classifiers.published.registry import Registry
from services.classification import create_app
from services.settings import Settings


def spoil(root: Path, name: str, how: str) -> None:
    folder = Registry(root).path(name)
    if how == "digest":
        data = bytearray((folder / "head.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "head.safetensors").write_bytes(data)
    elif how == "protocol":
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"protocol": 3', '"protocol": 99'))
    elif how == "missing":
        (folder / "head.safetensors").unlink()
    elif how == "gone":
        shutil.rmtree(folder)


async def ask(root: Path, paths: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    app = create_app(Settings(store="", heads=root, log_level="ERROR"))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        return [await client.request(method, path, json=body) for method, path, body in paths]


def test_a_head_whose_version_was_deleted_is_refused_and_all_others_serve(home, tmp_path):
    root = tmp_path / "heads"
    shutil.copytree(home.settings.heads, root)
    spoil(root, "gaussian", "gone")
    body = {"vectors": [[0.5] * 1280], "encoder": "lite0"}
    listed, good = asyncio.run(ask(root, [("GET", "/heads", None), ("POST", "/classify?head=linear", body)]))
    assert set(listed.json()["refused"]) == {"gaussian"}
    assert "linear" in [head["name"] for head in listed.json()["heads"]]
    assert good.json()["items"][0]["answers"]


@pytest.mark.parametrize("how", ["digest", "protocol", "missing"])
def test_a_bad_head_is_refused_and_a_good_one_serves(home, tmp_path, how):
    root = tmp_path / "heads"
    shutil.copytree(home.settings.heads, root)
    spoil(root, "gaussian", how)
    body = {"vectors": [[0.5] * 1280], "encoder": "lite0"}
    listed, good, bad = asyncio.run(
        ask(root, [("GET", "/heads", None), *(("POST", f"/classify?head={n}", body) for n in ("linear", "gaussian"))])
    )
    others = [name for name in Registry(root).names() if name != "gaussian"]
    assert [head["name"] for head in listed.json()["heads"]] == others
    assert listed.json()["refused"]["gaussian"]
    assert good.json()["items"][0]["answers"]
    assert (bad.status_code, bad.json()["error"]["code"]) == (503, "bad_head")


def test_no_heads_at_all(tmp_path):
    listed, nothing = asyncio.run(ask(tmp_path, [("GET", "/heads", None), ("POST", "/classify", {"ids": ["a"]})]))
    assert listed.json() == {"heads": [], "refused": {}}
    assert "none yet" in nothing.json()["error"]["message"]
