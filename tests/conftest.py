"""Set-up of all tests: no model hub, none of the developer's own settings, and one cache of converted models."""

import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from helpers.shared import shared_folder
from helpers.slow import mark_slow
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("busy", deadline=None)  # a loaded machine may be slow
settings.load_profile("busy")
for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
    del os.environ[name]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # e.g. `make test &` in a script: commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without looking for cycles: modules and tests stay, and are a million objects to look through."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest's own hook selects by mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_slow(items)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the cache of converted models. All worker processes of a run share it, so each model is converted once."""
    folder = shared_folder(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    return folder
