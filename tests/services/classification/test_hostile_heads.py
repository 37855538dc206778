"""Hostile head folders and vectors: a head is refused and the others serve; no answer has NaN or null for a number."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.toys import LABEL_VARIANTS, VARIANTS, fitted, make_toy, outlier_of, record_of

from classifiers.published.registry import Registry
from services.classification import create_app
from services.settings import Settings

NUMBERS = ("probability", "outlier_percentile")


async def ask(root: Path, requests: list[tuple[str, str, Any]]) -> list[httpx.Response]:
    app = create_app(Settings(store="", heads=root, log_level="CRITICAL"))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        return [await http.request(method, path, json=body) for method, path, body in requests]


@pytest.fixture(scope="module")
def toy():
    return make_toy()


@pytest.fixture(scope="module")
def heads(tmp_path_factory, toy) -> Registry:
    """One head of every variant of every kind that reads vectors, each with outlier scores and prediction sets."""
    registry = Registry(tmp_path_factory.mktemp("all") / "heads")
    quantiles, files = outlier_of(toy)
    for variant in (*VARIANTS, *LABEL_VARIANTS):
        head = fitted(variant, toy).head_
        if not head.reads_tokens:
            record = record_of(head, toy, outlier=quantiles)
            registry.publish(variant.replace(" ", "-"), head, record, files)
    return registry


def numbers(value: Any) -> list[float]:
    """Return all probabilities and percentiles anywhere in an answer."""
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    if isinstance(value, dict):
        own = [value[name] for name in NUMBERS if name in value]
        return own + [number for each in value.values() for number in numbers(each)]
    return []


@pytest.mark.parametrize("sets", ["lac", "aps"])
def test_finite_vectors_that_overflow_are_bad_vectors_for_every_kind_of_head(heads, toy, sets):
    good = toy.X[0].tolist()
    huge = [np.sign(each) * 1e38 for each in good]
    body = {"vectors": [good, huge, [1e38] * len(good), [-3e38] * len(good), good], "encoder": "toy"}
    paths = [f"/classify?head={name}&sets={sets}&top_k=9" for name in heads.names()]
    refused = 0
    for path, answer in zip(paths, asyncio.run(ask(heads.root, [("POST", path, body) for path in paths])), strict=True):
        assert answer.status_code == 200, path
        items = answer.json()["items"]
        assert [len(items[i]["answers"]) for i in (0, 4)] == [1, 1], path
        for item in items:
            assert len(item["answers"]) == (0 if "error" in item else 1), path
            assert all(isinstance(number, float) and np.isfinite(number) for number in numbers(item)), path
        codes = {item["error"]["code"] for item in items if "error" in item}
        assert codes <= {"bad_vector"}, path
        refused += bool(codes)
    assert refused > len(paths) / 3  # the others set vectors to unit norm first, and answer


def test_one_head_may_answer_for_a_vector_that_overflows_in_another(heads, toy):
    body = {"vectors": [toy.X[0].tolist(), [1e38] * toy.X.shape[1]], "encoder": "toy"}
    [answer] = asyncio.run(ask(heads.root, [("POST", "/classify?head=gaussian-diag&head=zeroshot", body)]))
    ordinary, huge = answer.json()["items"]
    assert [each["head"] for each in ordinary["answers"]] == ["gaussian-diag", "zeroshot"]
    assert [each["head"] for each in huge["answers"]] == ["zeroshot"]
    assert huge["error"]["code"] == "bad_vector"
    assert "'gaussian-diag'" in huge["error"]["message"]


FAULTS = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "deep": lambda path: path.write_text("[" * 200_000),
    "1 GB": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 10**9),
    "surrogate": lambda path: path.write_text('{"\\ud800": "\\ud800"}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("name", ["aliases.json", "manifest.json", "head.safetensors"])
def test_a_hostile_file_refuses_its_head_and_the_service_starts(tmp_path, toy, name, fault):
    registry, head = Registry(tmp_path / "heads"), fitted("linear", toy).head_
    for each in ("good", "bad"):
        registry.publish(each, head, record_of(head, toy))
    path = registry.path("bad").parent / name if name == "aliases.json" else registry.path("bad") / name
    path.unlink()
    fault(path)
    body = {"vectors": [toy.X[0].tolist()], "encoder": "toy"}
    requests = [("GET", "/heads", None), *(("POST", f"/classify?head={each}", body) for each in ("good", "bad"))]
    listed, good, bad = asyncio.run(asyncio.wait_for(ask(registry.root, requests), 20))
    assert [each["name"] for each in listed.json()["heads"]] == ["good"]
    assert name in listed.json()["refused"]["bad"]
    assert good.json()["items"][0]["answers"]
    assert (bad.status_code, bad.json()["error"]["code"]) == (503, "bad_head")


def test_a_manifest_with_names_that_no_answer_could_hold_is_refused(tmp_path, toy):
    registry, head = Registry(tmp_path / "heads"), fitted("linear", toy).head_
    registry.publish("bad", head, record_of(head, toy))
    path = registry.path("bad") / "manifest.json"
    raw = json.loads(path.read_text())
    for classes in (["\ud800", *raw["classes"][1:]], ["x" * 10**6, *raw["classes"][1:]]):
        path.write_text(json.dumps(raw | {"classes": classes}))
        listed, shown = asyncio.run(ask(registry.root, [("GET", "/heads", None), ("GET", "/heads/bad", None)]))
        assert len(listed.json()["refused"]["bad"]) < 1000
        assert (shown.status_code, shown.json()["error"]["code"]) == (503, "bad_head")
