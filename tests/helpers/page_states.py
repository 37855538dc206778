"""Stores in which something is missing, each behind a real service; and what must be true of every screen."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Request, expect

from helpers.serving import served
from helpers.sounds import sound
from services.classification import create_app
from services.settings import Settings
from store import Item, Label, Store, asset_id

if TYPE_CHECKING:
    from embedder.encoder import Encoder
    from services.cli.demo_photos import Cell

VIEWS = ("drop", "browse", "map", "learn", "heads", "jobs")
FEW = 40
TASK = "cells"
SERIOUS = ("serious", "critical")

Filled = Callable[[Settings, list["Cell"], "Encoder"], None]


def _empty(settings: Settings, cells: list["Cell"], encoder: "Encoder") -> None:
    """No store: nothing has been added yet."""


def _without_vectors(settings: Settings, cells: list["Cell"], encoder: "Encoder", *, task: str | None = TASK) -> None:
    from services.cli import demo_photos
    from services.jobs.ingest import ingest

    ingest(Store.open(settings.store), demo_photos.items(cells), task=task)


def _without_labels(settings: Settings, cells: list["Cell"], encoder: "Encoder") -> None:
    from services.jobs.backfill.local import backfill

    _without_vectors(settings, cells, encoder, task=None)
    backfill(Store.open(settings.store), encoder)


def _without_heads(settings: Settings, cells: list["Cell"], encoder: "Encoder") -> None:
    from services.jobs.backfill.local import backfill

    _without_vectors(settings, cells, encoder)
    backfill(Store.open(settings.store), encoder)


def _with_sounds(settings: Settings, cells: list["Cell"], encoder: "Encoder") -> None:
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train
    from services.jobs.ingest import ingest

    _without_heads(settings, cells, encoder)
    store = Store.open(settings.store)
    items = [Item(f"/srv/recordings/{seed}.wav", sound(seed)) for seed in range(3)]
    ingest(store, items, task=TASK)
    train(store, Registry(settings.heads), task=TASK, encoders=["lite0"], kind="gaussian", name="cells")


def _with_several_labels(settings: Settings, cells: list["Cell"], encoder: "Encoder") -> None:
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train

    _without_labels(settings, cells, encoder)
    store = Store.open(settings.store)
    labels = [
        Label(asset_id(cell.path.read_bytes()), ["odd", cell.label] if i % 2 else [cell.label], cell.split)
        for i, cell in enumerate(cells)
    ]
    store.labels.put(TASK, labels)
    train(store, Registry(settings.heads), task=TASK, encoders=["lite0"], kind="labelwise", name="cells")


STATES: Mapping[str, Filled] = {
    "empty": _empty,
    "without vectors": _without_vectors,
    "without labels": _without_labels,
    "without heads": _without_heads,
    "with sounds": _with_sounds,
    "with several labels": _with_several_labels,
}
"""Name of a state → a function that fills a store and a folder of heads."""


@contextmanager
def service(state: str, folder: Path, home: Settings, cells: list["Cell"], encoder: "Encoder") -> Iterator[str]:
    """Serve a store in this state, without an embedding service. Yield the URL."""
    update = {"store": str(folder / "photos.db"), "heads": folder / "heads", "jobs": folder / "jobs"}
    settings = home.model_copy(update=update | {"embedding_url": "http://127.0.0.1:1"})
    STATES[state](settings, cells, encoder)
    with served(create_app(settings)) as url:
        yield url


class Watched:
    """A tab whose errors and requests are recorded from the beginning.

    Attributes:
        problems: errors of scripts, violations of the content security policy, requests to another origin.
    """

    def __init__(self, tab: Page, url: str) -> None:
        self.tab, self.url = tab, url
        self.problems: list[str] = []
        self.urls: list[str] = []
        tab.on("pageerror", lambda error: self.problems.append(str(error)))
        tab.on("request", self._requested)
        tab.expose_function("violated", lambda text: self.problems.append(text))
        tab.add_init_script(
            "addEventListener('securitypolicyviolation', (event) =>"
            " violated(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        self.urls.append(request.url)
        if parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.problems.append(f"a request to {request.url}")

    def show(self, view: str, words: str) -> None:
        """Open a view and wait until it says something that matches `words`."""
        self.tab.goto(f"{self.url}/#{view}")
        expect(self.tab.locator("main")).to_contain_text(re.compile(words, re.DOTALL))
        expect(self.tab.get_by_text(re.compile("Loading …|Placing the photos …"))).to_have_count(0)

    def check(self, *hidden: Path | str) -> None:
        """Assert what is true of every screen.

        Args:
            hidden: texts that no screen may have, such as folders of the server.
        """
        assert self.problems == []
        assert paths_on(self.tab, *hidden) == []
        assert overflowing(self.tab) == []
        assert serious(self.tab) == []


def paths_on(tab: Page, *hidden: Path | str) -> list[str]:
    """Return the texts, values and attributes of the document that contain one of the texts in `hidden`."""
    document = tab.evaluate(
        "[...document.querySelectorAll('*')].flatMap((each) => [each.value,"
        " ...[...each.attributes].map((attribute) => attribute.value),"
        " ...[...each.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data)])"
        ".filter((text) => typeof text === 'string')"
    )
    return [text for text in document if any(str(each) in text for each in (*hidden, sys.prefix))]


def overflowing(tab: Page) -> list[str]:
    """Return what does not fit: a page that is wider than the screen, and buttons of two lines."""
    found: list[str] = tab.evaluate(
        """() => {
          const wide = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
          const lines = (each) => each.offsetHeight > 2.2 * parseFloat(getComputedStyle(each).lineHeight) + 14;
          const high = [...document.querySelectorAll(".head, .head a, .head button, button.main")].filter(lines);
          return [...wide, ...high.map((each) => `two lines: ${each.textContent.trim()}`)];
        }"""
    )
    return found


def serious(tab: Page) -> list[str]:
    """Return axe's findings that matter, with the elements that they are about."""
    found = Axe().run(tab).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found if each["impact"] in SERIOUS]
