"""One Ray cluster for the tests of a file."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from services.jobs.ray import Workers


@pytest.fixture(scope="module")
def cluster() -> "Iterator[Workers]":
    from helpers.clusters import running_cluster

    with running_cluster() as workers:
        yield workers
