"""Fixtures of the tests of published data sets."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.datasets import stored

from services.jobs.datasets.dataset import Dataset
from services.jobs.datasets.formats import open_dataset
from services.jobs.fill import Request, fill
from store import Store

Reads = Callable[[Path, str], tuple[dict[str, tuple[list[str], str]], Dataset]]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "headwater.db")


@pytest.fixture
def read(store) -> Reads:
    """Stores the data set in a folder, and returns the labels and splits of its files, and the data set."""

    def run(folder: Path, name: str) -> tuple[dict[str, tuple[list[str], str]], Dataset]:
        dataset = open_dataset(folder, name)
        fill(store, Request((), name), sources=dataset)
        return stored(store, name), dataset

    return run
