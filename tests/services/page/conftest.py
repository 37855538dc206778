"""An installed Chromium without internet access, services to change, and the page's files without a service."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from helpers.browser import CHROMIUM, OFFLINE
from helpers.page_store import StoredPage
from helpers.serving import served
from playwright.sync_api import Browser, Page, sync_playwright

from services.classification import create_app
from services.page import mount
from services.processes import Running, free_ports, running
from services.settings import Settings
from store import asset_id

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


@pytest.fixture(scope="session")
def own_url(home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """URL of a classification service with heads of its own, so that tests can move aliases; and their folder."""
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train
    from services.cli.demo_photos import TASK

    heads = tmp_path_factory.mktemp("own") / "heads"
    shutil.copytree(home.settings.heads, heads)
    train(home.store, Registry(heads), task=TASK, encoders=["lite0"], kind="linear", name="gaussian")
    with served(create_app(home.settings.model_copy(update={"heads": heads, "jobs": heads.parent / "jobs"}))) as url:
        yield url, heads


@pytest.fixture
def stored(home, own_url: tuple[str, Path]) -> Iterator[StoredPage]:
    """The page on a real store and real heads, of which `gaussian` has two versions, the second one of kind linear."""
    url, heads = own_url
    pictures = {asset_id(cell.path.read_bytes()): cell.path for cell in home.cells}
    aliases = (heads / "gaussian" / "aliases.json").read_bytes()
    yield StoredPage(home.store, pictures, url, heads)
    (heads / "gaussian" / "aliases.json").write_bytes(aliases)


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
