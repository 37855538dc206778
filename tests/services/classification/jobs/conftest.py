"""A folder of photos that jobs may read, and the settings of a service with a store that is still empty."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from services.classification import create_app
from services.settings import Settings


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder with four small photos in two class folders."""
    folder, random = tmp_path / "photos", np.random.default_rng(0)
    for number, name in enumerate(["hat", "hat", "shoe", "shoe"]):
        path = folder / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return folder


@pytest.fixture
def settings(tmp_path: Path, photos: Path, cache_dir: Path) -> Settings:
    return Settings(
        store=str(tmp_path / "db"),
        heads=tmp_path / "heads",
        jobs=tmp_path / "jobs",
        job_folders=(str(photos),),
        cache=cache_dir,
        embedding_port=1,
        grace=4.0,
        log_level="ERROR",
    )


@pytest.fixture
def queue(settings: Settings) -> TestClient:
    """Return a client of a service that accepts jobs and has not started, so that it runs none."""
    return TestClient(create_app(settings), base_url="http://localhost")
