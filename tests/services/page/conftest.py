"""An installed Chromium without internet access, services to change, and the page's files without a service."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from helpers.browser import CHROMIUM, OFFLINE
from helpers.serving import served
from playwright.sync_api import Browser, Page, sync_playwright

from services.page import mount
from services.processes import Running, free_ports, running
from services.settings import Settings

OPTIONS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one module: while it is open, Playwright's event loop is that of the whole process."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*OPTIONS, OFFLINE])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A fresh tab. A test fails if a script of the page throws, or if its policy refuses something."""
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    tab = context.new_page()
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if "Content Security" in message.text else None)
    yield tab
    context.close()
    assert problems == []


@pytest.fixture(scope="session")
def files() -> Iterator[str]:
    """URL of the page's files, served without a service: for tests of single parts with columns made by the test."""
    app = FastAPI()
    mount.mount(app)
    with served(app) as url:
        yield url


@pytest.fixture
def own_services(home, tmp_path: Path) -> Iterator[tuple[Running, Settings]]:
    """Both services on a copy of the store and the heads, which a test may change."""
    folder = tmp_path / "home"
    shutil.copytree(Path(home.settings.store).parent, folder)
    ports = dict(zip(("embedding_port", "classification_port"), free_ports(2), strict=True))
    update = {"store": str(folder / "headwater.db"), "heads": folder / "heads", "jobs": folder / "jobs"}
    settings = home.settings.model_copy(update=update | ports)
    with running(settings) as started:
        yield started, settings
