"""A service with keys: what each role sees and can change, and where the key is not: it is in this tab only."""

import logging
import shutil
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from helpers.page_states import VIEWS, Watched, paths_on
from helpers.serving import served
from playwright.sync_api import Page, Request, expect

from services.classification import create_app
from services.processes import free_ports
from services.settings import Settings
from services.web.access.keys import Role, make
from services.web.access.roles import only_reads

MADE = {role.name: make(f"my-{role.name}", role) for role in Role}
SECRETS = {name: secret for name, (secret, _) in MADE.items()}


@pytest.fixture(scope="module")
def guarded(home, tmp_path_factory) -> Settings:
    folder = tmp_path_factory.mktemp("guarded")
    shutil.copytree(home.settings.store, folder / "photos.db")
    shutil.copytree(home.settings.heads / "gaussian", folder / "heads" / "gaussian")
    update = {"store": str(folder / "photos.db"), "heads": folder / "heads", "jobs": folder / "jobs"}
    return home.settings.model_copy(update={**update, "keys": tuple(key.line for _, key in MADE.values())})


@pytest.fixture(scope="module")
def url(guarded: Settings) -> Iterator[str]:
    with served(create_app(guarded)) as url:
        yield url


def log_in(tab: Page, secret: str) -> None:
    tab.get_by_label("Key").fill(secret)
    tab.get_by_role("button", name="Open").click()


def changes(tab: Page) -> list[str]:
    """Return the list to which each request is added that could change something."""
    found: list[str] = []

    def look(request: Request) -> None:
        path = httpx.URL(request.url).path
        if request.url.startswith("http") and not only_reads(request.method, path):
            found.append(f"{request.method} {path}")

    tab.on("request", look)
    return found


@pytest.mark.slow
def test_a_wrong_key_is_refused_and_a_right_one_stays_in_this_tab(tab: Page, url: str, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    watched = Watched(tab, url)
    tab.goto(f"{url}/#browse")
    watched.check()
    log_in(tab, "hw_" + "x" * 43)
    expect(tab.get_by_role("alert")).to_have_text("This key is not valid.")
    log_in(tab, SECRETS["read"])
    expect(tab.locator(".cell img").first).to_be_visible()
    secret = SECRETS["read"]
    for view in VIEWS:
        watched.show(view, ".")
        assert paths_on(tab, secret) == []
    assert not [each for each in watched.urls if secret in each]
    assert secret not in tab.evaluate("JSON.stringify(localStorage) + document.cookie + location.href + document.title")
    assert secret not in caplog.text
    tab.get_by_role("button", name="Forget the key").click()
    expect(tab.get_by_label("Key")).to_be_visible()
    assert secret not in tab.evaluate("JSON.stringify(sessionStorage)")
    tab.reload()
    expect(tab.get_by_label("Key")).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_fits_every_screen_and_hurts_no_rule(
    tab: Page, url: str, scheme: Literal["light", "dark"], width: int
) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 844})
    watched = Watched(tab, url)
    tab.goto(f"{url}/#browse")
    expect(tab.get_by_label("Key")).to_be_focused()
    watched.check()
    tab.keyboard.type("hw_" + "x" * 43)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("alert")).to_have_text("This key is not valid.")
    watched.check()


@pytest.mark.slow
@pytest.mark.parametrize("role", Role.__members__)
def test_each_role_is_offered_what_it_may_do(tab: Page, url: str, guarded: Settings, role: str) -> None:
    sent = changes(tab)
    watched = Watched(tab, url)
    tab.goto(f"{url}/#browse")
    log_in(tab, SECRETS[role])
    expect(tab.locator(".cell img").first).to_be_visible()
    write, admin = Role[role] >= Role.write, Role[role] >= Role.admin
    tab.locator(".cell").first.click()
    for button in tab.get_by_role("region", name="Classes").get_by_role("listitem").get_by_role("button").all():
        expect(button).to_be_enabled(enabled=write)
    expect(tab.get_by_role("textbox", name="Name of a new class")).to_have_count(int(write))
    tab.locator(".cell").first.dblclick()
    expect(tab.get_by_role("dialog")).to_contain_text("History")
    expect(tab.get_by_role("combobox", name="Change the label")).to_have_count(int(write))
    watched.check(guarded.heads.parent)
    tab.keyboard.press("Escape")
    if not write:
        for key in ("1", "Backspace", "u"):
            tab.keyboard.press(key)
    watched.show("learn", "Learn from my corrections")
    expect(tab.get_by_role("button", name="Learn from my corrections")).to_be_enabled(enabled=write)
    expect(tab.get_by_role("switch")).to_be_enabled(enabled=write)
    if not write:
        expect(tab.locator("main")).to_contain_text("Your key may look, but not change labels or train.")
    watched.check(guarded.heads.parent)
    watched.show("heads", "How it was made")
    for button in tab.get_by_role("button", name="Use this version").all():
        expect(button).to_be_enabled(enabled=admin)
    watched.check(guarded.heads.parent)
    watched.show("jobs", "Work on the whole store")
    start = tab.get_by_role("button", name="Start a job")
    expect(start).to_be_enabled(enabled=write)
    if not write:
        expect(start).to_have_attribute("title", "Your key may look at jobs, but not start them.")
    watched.check(guarded.heads.parent)
    assert sent == []


@pytest.mark.slow
def test_the_page_asks_for_another_key_when_its_own_is_revoked(tab: Page, guarded: Settings) -> None:
    [port] = free_ports(1)
    with served(create_app(guarded), port) as url:
        tab.goto(f"{url}/#browse")
        log_in(tab, SECRETS["read"])
        expect(tab.locator(".cell img").first).to_be_visible()
    left = guarded.model_copy(update={"keys": (MADE["admin"][1].line,)})
    with served(create_app(left), port):
        expect(tab.get_by_role("alert")).to_have_text("This key is not valid.", timeout=20_000)
        expect(tab.locator(".cell")).to_have_count(0)
        log_in(tab, SECRETS["admin"])
        expect(tab.locator(".cell img").first).to_be_visible()


@pytest.mark.slow
def test_a_key_with_a_low_rate_makes_the_page_slow_and_not_empty(tab: Page, guarded: Settings) -> None:
    secret, key = make("slow", Role.read, rate=2)
    with served(create_app(guarded.model_copy(update={"keys": (key.line,)}))) as url:
        watched = Watched(tab, url)
        tab.goto(f"{url}/#browse")
        log_in(tab, secret)
        expect(tab.locator(".cell img").first).to_be_visible(timeout=20_000)
        assert watched.problems == []


@pytest.mark.slow
def test_the_view_of_jobs_shows_no_folder_not_even_to_an_admin(tab: Page, guarded: Settings, home) -> None:
    folder = guarded.heads.parent / "more"
    folder.mkdir()
    shutil.copy(home.cells[0].path, folder)
    with served(create_app(guarded.model_copy(update={"job_folders": (str(folder.parent),)}))) as url:
        headers = {"Authorization": f"Bearer {SECRETS['admin']}"}
        asked = httpx.post(f"{url}/v1/jobs", json={"kind": "ingest", "folder": str(folder)}, headers=headers)
        assert str(folder) in asked.raise_for_status().text
        tab.goto(f"{url}/#jobs")
        log_in(tab, SECRETS["admin"])
        job = tab.get_by_role("article", name="Add a folder")
        expect(job).to_contain_text("done", timeout=60_000)
        job.get_by_text("Details").click()
        expect(job).to_contain_text("…/more")
        assert paths_on(tab, folder.parent) == []
