"""Each view of the page in each state of a store: it says what is missing and what to do, and hurts no rule."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from helpers.page_states import STATES, VIEWS, Watched, service
from helpers.serving import served
from playwright.sync_api import Page, expect

from services.classification import create_app
from services.processes import free_ports

WORDS: Mapping[str, Mapping[str, str]] = {
    "empty": {
        "drop": "Drop a folder of photos here",
        "browse": "Drop a folder of photos here",
        "map": "no photos yet",
        "learn": "no photos yet",
        "heads": "No head has learned",
        "jobs": "no jobs yet",
    },
    "without vectors": {
        "drop": "Drop a folder of photos",
        "browse": "Embed the photos",
        "map": "no vectors yet",
        "learn": "Embed all photos",
        "heads": "No head has learned",
        "jobs": "no jobs yet",
    },
    "without labels": {
        "drop": "Drop a folder of photos",
        "browse": "Label twenty photos",
        "map": "40 photos",
        "learn": "Label about ten photos",
        "heads": "No head has learned",
        "jobs": "no jobs yet",
    },
    "without heads": {
        "drop": "Drop a folder of photos",
        "browse": "Teach a head",
        "map": "40 photos",
        "learn": "Learn from my labels",
        "heads": "No head has learned",
        "jobs": "no jobs yet",
    },
    "with sounds": {
        "drop": "Drop a photo or a sound",
        "browse": "43 ",
        "map": "40 photos.*3 photos without a vector are not on the map. The encoder cannot read them.",
        "learn": "Learn from my corrections",
        "heads": "How it was made",
        "jobs": "no jobs yet",
    },
    "with several labels": {
        "drop": "Drop a photo or a sound",
        "browse": "Look at what the head",
        "map": "40 photos",
        "learn": "Learn from my corrections",
        "heads": "How it was made",
        "jobs": "no jobs yet",
    },
}
WHOLE = {
    "drop": "Drop a photo or a sound",
    "browse": "Look at what the head",
    "map": "240 photos",
    "learn": "Learn",
    "heads": "How it was made",
    "jobs": "no jobs yet",
}
MOVING = """() => [...document.querySelectorAll("*")]
  .flatMap((each) => ["", "::before", "::after"].map((part) => getComputedStyle(each, part)))
  .filter((style) => style.animationName !== "none" || parseFloat(style.transitionDuration) > 0).length"""
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def urls(home, lite0, tmp_path_factory) -> Iterator[Mapping[str, str]]:
    with ExitStack() as stack:
        yield {
            state: stack.enter_context(
                service(state, tmp_path_factory.mktemp("state"), home.settings, home.cells[:40], lite0)
            )
            for state in STATES
        }


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_every_view_says_what_is_missing_and_hurts_no_rule(
    tab: Page, urls, tmp_path_factory, state: str, scheme: Scheme, width: int
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 800 if width > 800 else 844})
    watched = Watched(tab, urls[state])
    for view in VIEWS:
        watched.show(view, WORDS[state][view])
        watched.check(tmp_path_factory.getbasetemp(), "/srv/recordings")


@pytest.mark.slow
def test_the_head_line_is_one_line_on_a_phone_and_shows_task_and_head_when_asked(tab: Page, urls):
    tab.set_viewport_size({"width": 390, "height": 844})
    watched = Watched(tab, urls["with sounds"])
    watched.show("browse", "43 photos")
    assert tab.locator(".head").bounding_box()["height"] < 60
    task = tab.get_by_role("combobox", name="Task")
    expect(task).to_be_hidden()
    tab.get_by_role("button", name="Task and head").click()
    expect(task).to_have_value("cells")
    expect(tab.get_by_role("combobox", name="Head")).to_be_visible()
    watched.check()
    tab.get_by_role("link", name="Learn").click()
    expect(task).to_be_hidden()


@pytest.mark.slow
def test_a_photo_is_not_answered_while_the_embedding_service_is_down_and_the_page_says_why(tab: Page, urls, home):
    watched = Watched(tab, urls["with sounds"])
    watched.show("drop", "Drop a photo or a sound")
    tab.set_input_files("input[type=file]:not([webkitdirectory])", home.cells[50].path)
    expect(tab.locator(".dropped").get_by_role("alert")).to_contain_text("embedding service")
    watched.check()


@pytest.mark.slow
@pytest.mark.parametrize(("last", "words"), [("heads", "How it was made"), ("learn", "What it sees")])
def test_the_page_says_that_the_service_is_down_and_goes_on_when_it_is_back(tab: Page, home, last: str, words: str):
    [port] = free_ports(1)
    app = partial(create_app, home.settings)
    with served(app(), port) as url:
        watched = Watched(tab, url)
        watched.show("browse", "Near-duplicates")
    down = tab.get_by_role("alert").filter(has_text="The service does not answer.")
    expect(down).to_be_visible(timeout=15_000)
    for view in (*VIEWS, last):
        tab.goto(f"{url}/#{view}")
        expect(down).to_be_visible()
        watched.check(Path(home.settings.store).parent)
    with served(app(), port):
        expect(down).to_have_count(0, timeout=15_000)
        expect(tab.locator("main")).to_contain_text(words)
        for view in VIEWS:
            watched.show(view, WHOLE[view])
            watched.check(Path(home.settings.store).parent)


@pytest.mark.slow
def test_axes_that_are_refused_leave_the_photos_on_the_screen(tab: Page, urls):
    watched = Watched(tab, urls["without labels"])
    watched.show("browse?axes=lda", "40 photos")
    expect(tab.get_by_role("status")).to_contain_text(re.compile("label|class"))
    watched.show("map", "40 photos")


@pytest.mark.slow
def test_nothing_moves_by_itself_where_that_is_not_wanted(tab: Page, urls):
    tab.emulate_media(reduced_motion="reduce")
    watched = Watched(tab, urls["with sounds"])
    for view in VIEWS:
        watched.show(view, WORDS["with sounds"][view])
        moving = tab.evaluate(MOVING)
        assert (moving, tab.evaluate("document.getAnimations().length")) == (0, 0)
