"""The view "Photos" by the rules of axe: names, roles, contrast, in both colour schemes and on a narrow screen."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.page_rows import Scripted, some_columns
from playwright.sync_api import Page, expect

SERIOUS = ("serious", "critical")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_finding(tab: Page, files: str, scheme: Literal["light", "dark"], width: int) -> None:
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 844})
    Scripted(some_columns(200, 4), ["hat", "dress", "duck", "sock"]).serve(tab)
    tab.goto(files)
    expect(tab.locator(".cell img").first).to_be_visible()
    tab.locator(".cell").nth(2).click(modifiers=["Control"])
    assert serious(tab) == []
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("dialog").locator("img")).to_be_visible()
    assert serious(tab) == []


def serious(tab: Page) -> list[str]:
    """Return the findings that matter, with the elements that they are about."""
    found = Axe().run(tab).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found if each["impact"] in SERIOUS]
