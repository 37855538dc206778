"""Real services on loopback: solar cells in a store, embedded with lite0, two heads trained on them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from classifiers.registry import Registry
from classifiers.train import train
from embedder import registry
from embedder.encoder import Encoder
from services import demo
from services.backfill import backfill
from services.ingest import ingest
from services.processes import Running, free_ports, running
from services.settings import Settings
from store import Store

PHOTOS = 240


@dataclass(frozen=True)
class Home:
    """A store and heads on disk, with the photos that are in them."""

    settings: Settings
    store: Store
    cells: list[demo.Cell]


@pytest.fixture(scope="session")
def lite0(cache_dir: Path) -> Encoder:
    return registry.load("lite0", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, lite0: Encoder) -> Home:
    folder = tmp_path_factory.mktemp("home")
    ports = free_ports(2)
    settings = Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        cache=cache_dir,
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="WARNING",
    )
    cells = demo.cells()[:PHOTOS]
    store = Store.open(settings.store)
    ingest(store, demo.items(cells), task=demo.TASK)
    backfill(store, lite0)
    for kind in ("gaussian", "linear"):
        train(store, Registry(settings.heads), task=demo.TASK, encoders=["lite0"], kind=kind, name=kind)
    return Home(settings, store, cells)


@pytest.fixture(scope="session")
def services(home: Home) -> Iterator[Running]:
    with running(home.settings) as started:
        yield started


@pytest.fixture(scope="session")
def photos(home: Home) -> list[bytes]:
    """Photos of the test split, none of which a head was trained on."""
    return [cell.path.read_bytes() for cell in home.cells if cell.split == "test"][:8]


@pytest.fixture(scope="session")
def china() -> bytes:
    """A real colour photo, 640×427, as JPEG."""
    return jpeg(load_sample_images().images[0])


def jpeg(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()
