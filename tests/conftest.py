"""What all tests share: real photos from packages, and no way out to the network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("busy", deadline=None)  # no test fails by the time that a loaded machine takes
settings.load_profile("busy")
for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
    del os.environ[name]  # a developer's own settings are not the tests'


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Converted models, made once a test run."""
    return tmp_path_factory.mktemp("cache")
