"""A store that has what a page meets: sounds, gaps, several labels, removed assets, heads of every sort."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import imported_spec
from helpers.serving import served
from helpers.toystore import toy_spec
from services.classification import create_app
from services.client import Client
from services.settings import Settings
from store import Asset, Label, Store, asset_id
from store.removal import remove_assets

N, DIM = 420, 8
DATA = [f"asset {i}".encode() for i in range(N)]
IDS = [asset_id(data) for data in DATA]
CODES = np.random.default_rng(1).integers(0, 3, N)
SOUNDS = range(400, N)
"""Assets that no encoder takes."""
LABELLED = 300
REMOVED = (5, 77)


def vectors(seed: int, dim: int = DIM) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (1.5 * rng.standard_normal((3, dim))[CODES] + rng.standard_normal((N, dim))).astype(np.float32)


@dataclass(frozen=True)
class Shown:
    """A store, its heads, and a service that shows them."""

    settings: Settings
    store: Store
    heads: Registry
    client: Client
    url: str


def fill(store: Store) -> None:
    """Store assets, vectors and labels. Encoder two lacks every fifth row, and has twenty that encoder one lacks."""
    store.assets.add(
        Asset(id_, f"photos/{i}.jpg", "audio" if i in SOUNDS else "image", "image/jpeg", content=data)
        for i, (id_, data) in enumerate(zip(IDS, DATA, strict=True))
    )
    for name, seed, rows in (
        ("one", 2, range(380)),
        ("two", 3, [i for i in range(400) if i % 5]),
        ("gone", 4, range(380)),
    ):
        spec = imported_spec(name, DIM, source="test", schema="test")
        table = store.ensure_features(name, spec, np.empty((0, DIM), np.float32))
        table.put([IDS[i] for i in rows], vectors(seed)[list(rows)])
    tokens = store.ensure_tokens("toy", toy_spec(), np.eye(3, 8, dtype=np.float32))
    tokens.put(IDS[:380], vectors(5, 12)[:380].reshape(-1, 3, 4))
    store.features("one").put([asset_id(b"nobody")], np.ones((1, DIM), np.float32))
    store.labels.put("t", [Label(IDS[i], [f"class {CODES[i]}"]) for i in range(LABELLED)])
    store.labels.put("t", [Label(IDS[i], ["odd"], "ood") for i in range(LABELLED, LABELLED + 10)])
    store.labels.put("t", [Label(asset_id(b"nobody"), ["class 1"])])
    store.labels.put("t", [Label(IDS[N - 1], ["noise"], "test")])
    store.labels.put("several", [Label(IDS[i], ["b", "a", "c"][: CODES[i] + i % 2]) for i in range(LABELLED)])


@contextmanager
def shown_store(folder: Path) -> Iterator[Shown]:
    """Fill a store and train heads below `folder`, and serve both during the block."""
    settings = Settings(store=str(folder / "db"), heads=folder / "heads", jobs=folder / "jobs", log_level="ERROR")
    store, heads = Store.open(settings.store), Registry(settings.heads)
    fill(store)
    small = {"width": 16, "heads": 2, "hidden": 16, "epochs": 3, "queries": "groups"}
    for name, task, encoders, kind, params in (
        ("g", "t", ["one"], "gaussian", {}),
        ("s", "several", ["one"], "labelwise", {}),
        ("f", "t", ["one", "two"], "fusion", {}),
        ("c", "t", ["one", "two"], "fusion", {"rule": "cascade"}),
        ("d", "several", ["toy"], "decoder", small),
        ("x", "t", ["gone"], "gaussian", {}),
    ):
        train(store, heads, task=task, encoders=encoders, kind=kind, name=name, params=params)
    store.features("gone").table.delete("true")
    store.drop_empty(store.features("gone"))
    remove_assets(store, [IDS[i] for i in REMOVED])
    with served(create_app(settings)) as url, Client(url) as client:
        yield Shown(settings, store, heads, client, url)


def header_of(body: bytes) -> dict:
    """Return the header of a body, read as docs/http.md says."""
    length = int.from_bytes(body[:4], "little")
    return json.loads(body[4 : 4 + length])
