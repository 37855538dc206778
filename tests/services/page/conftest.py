"""An installed Chromium without internet access, and the page's files alone, without a service behind them."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from helpers.browser import CHROMIUM, OFFLINE
from helpers.serving import served
from playwright.sync_api import Browser, Page, sync_playwright

from services.page import mount

OPTIONS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
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
