"""Real services on loopback: solar cells in a store, embedded with lite0, and heads of several kinds."""

# Fixtures import what is slow to import (torch, scikit-learn, LanceDB) themselves: a test that needs none starts fast.
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers.pictures import jpeg
from helpers.shared import own_copy
from PIL import Image

from services.processes import Running, free_ports, running
from services.settings import Settings
from store import Label, Store, asset_id

if TYPE_CHECKING:
    from embedder.encoder import Encoder
    from services.cli.demo_photos import Cell

PHOTOS = 240
SEVERAL = "looks"


@dataclass(frozen=True)
class Home:
    """The settings of a store and heads on disk, the store, and the photos in it."""

    settings: Settings
    store: Store
    cells: list["Cell"]


@pytest.fixture(scope="session")
def lite0(cache_dir: Path) -> "Encoder":
    from embedder import registry

    return registry.load("lite0", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, lite0: "Encoder") -> Home:
    from services.cli import demo_photos

    cells = demo_photos.cells()[:PHOTOS]
    folder = own_copy(tmp_path_factory, "home", lambda folder: fill_home(folder, lite0, cells))
    ports = free_ports(2)
    settings = Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        cache=cache_dir,
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="WARNING",
    )
    return Home(settings, Store.open(settings.store), cells)


def fill_home(folder: Path, lite0: "Encoder", cells: list["Cell"]) -> None:
    """Embed the photos into a store in `folder`, and train heads of several kinds."""
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train
    from services.cli.demo_photos import TASK, items
    from services.jobs.backfill.local import backfill
    from services.jobs.ingest import ingest

    store, heads = Store.open(folder / "headwater.db"), Registry(folder / "heads")

    def learn(task: str, kind: str, name: str, **params: object) -> None:
        texts = (lambda _, texts: lite0.embed_texts(texts)) if name in ("named", "words") else None
        train(store, heads, task=task, encoders=["lite0"], kind=kind, name=name, params=params, texts=texts)

    ingest(store, items(cells), task=TASK)
    backfill(store, lite0, tokens=True)
    learn(TASK, "gaussian", "gaussian")
    learn(TASK, "linear", "linear")
    store.labels.put(SEVERAL, list(several(cells)))
    learn(SEVERAL, "labelwise", "several")
    learn(SEVERAL, "bilinear", "named", epochs=0)
    learn(TASK, "zeroshot", "words", blend=0)
    learn(SEVERAL, "decoder", "parts", queries="groups", width=32, hidden=32, epochs=2)


def several(cells: list["Cell"]) -> Iterator[Label]:
    """Yield labels of which a photo has any number: how it looks, and whether the cell is defective."""
    for cell in cells:
        data = cell.path.read_bytes()
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        looks = {"bright": pixels.mean() > 110, "even": pixels.std() < 35, "defective": cell.label == "defective"}
        yield Label(asset_id(data), [label for label, there in looks.items() if there], cell.split)


@pytest.fixture(scope="session")
def services(home: Home) -> Iterator[Running]:
    with running(home.settings) as started:
        yield started


@pytest.fixture(scope="session")
def photos(home: Home) -> list[bytes]:
    """Photos of the test split. No head was trained on them."""
    return [cell.path.read_bytes() for cell in home.cells if cell.split == "test"][:8]


@pytest.fixture(scope="session")
def china() -> bytes:
    """A real colour photo, 640×427, as JPEG."""
    from sklearn.datasets import load_sample_images

    return jpeg(load_sample_images().images[0])
