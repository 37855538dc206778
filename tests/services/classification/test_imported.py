"""Imported vectors are served by ids and by vectors; files and texts are refused in plain words."""

import asyncio

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import runner, settings_in
from helpers.pictures import photo
from helpers.serving import served

from services import classification, embedding
from store import Store, asset_id

N, DIM = 90, 5


@pytest.fixture(scope="module")
def settings(tmp_path_factory, cache_dir):
    """A store that `import-vectors` made, with a head that `train` made."""
    folder = tmp_path_factory.mktemp("imported")
    found = settings_in(folder, cache_dir, encoders=("melstat",))
    codes = np.arange(N) % 2
    X = np.random.default_rng(0).standard_normal((N, DIM)) + 4 * codes[:, None]
    columns = {"key": [f"row {i}" for i in range(N)], "vec": list(X), "label": [("no", "yes")[code] for code in codes]}
    pq.write_table(pa.table(columns), folder / "v.parquet")
    run = runner(found.environment(), folder)
    out, _ = run("import-vectors", "v.parquet", "--name", "my-clip", "--task", "t", "--source", "CLIP of mine")
    assert "note: the numbers are float64; they are stored as float32" in out
    assert "next: headwater train --task t --encoder my-clip --name NAME" in out
    run("train", "--task", "t", "--encoder", "my-clip", "--name", "h")
    return found


@pytest.fixture(scope="module")
def headwater(settings, tmp_path_factory):
    return runner(settings.environment(), tmp_path_factory.mktemp("run"))


def test_ids_and_vectors_are_answered_and_the_rest_is_refused_in_plain_words(settings):
    with served(embedding.create_app(settings)) as url:
        asyncio.run(_ask(settings.model_copy(update={"embedding_url": url})))


async def _ask(settings) -> None:
    transport = httpx.ASGITransport(classification.create_app(settings))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        httpx.AsyncClient(base_url=settings.embedding_url) as direct,
    ):
        ids = [asset_id(b"row 1"), asset_id(b"row 2")]
        by_id = await http.post("/classify", params={"head": "h"}, json={"ids": ids})
        assert [item["answers"][0]["label"] for item in by_id.json()["items"]] == ["yes", "no"]
        _, X = Store.open(settings.store).features("my-clip").get(ids)
        body = {"vectors": X.tolist(), "encoder": "my-clip"}
        by_vector = await http.post("/classify", params={"head": "h"}, json=body)
        assert [item["answers"] for item in by_vector.json()["items"]] == [
            item["answers"] for item in by_id.json()["items"]
        ]
        near = await http.get("/search", params={"encoder": "my-clip", "id": ids[0], "k": 3})
        assert all(hit["uri"].startswith("row ") for hit in near.json()["hits"])
        file = ("a.png", photo(1))
        for answer in (
            await http.post("/classify", params={"head": "h"}, files={"images": file}),
            await http.post("/search", params={"encoder": "my-clip"}, files={"images": file}),
            await http.get("/search", params={"encoder": "my-clip", "text": "a dog"}),
            await direct.post("/v1/embed", params={"encoder": "my-clip"}, files={"files": file}),
        ):
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (404, "unknown_encoder"), error
            assert error["message"].startswith("encoder 'my-clip' cannot embed: its vectors were imported")


def test_the_command_line_says_so_too_and_predicts(headwater, tmp_path):
    _, err = headwater("backfill", "--encoder", "my-clip", code=1)
    assert err.startswith("error: encoder 'my-clip' cannot embed: its vectors were imported, and no network is known")
    assert "hint: `headwater import-vectors FILE --name NAME` adds vectors to it" in err
    out, _ = headwater("predict", "--head", "h")
    assert "the first 50 of 90 rows; --out FILE writes all" in out
    headwater("predict", "--head", "h", "--out", tmp_path / "p.csv")
    _, err = headwater("predict", "--head", "h", "--out", tmp_path / "p.csv", code=1)
    assert err == f"error: {tmp_path / 'p.csv'} exists\nhint: --overwrite replaces it; --out names another file\n"
    _, err = headwater("predict", "--head", "h", "--out", "p.xlsx", code=2)
    assert "--out p.xlsx: give table, or a file that ends with .parquet, .csv, .jsonl" in " ".join(err.split())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(photo(1))
    _, err = headwater("predict", "--head", "h", tmp_path / "in", code=1)
    assert err.startswith("error: encoder 'my-clip' cannot embed")
    shown, _ = headwater("doctor")
    assert "vectors of my-clip" in shown
