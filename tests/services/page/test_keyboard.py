"""All views of the page, and a label, with the keyboard alone."""

import httpx
import pytest
from helpers.page_states import TASK, service
from playwright.sync_api import Page, expect

FOCUSED = """() => {
  const at = document.activeElement;
  return [at.ariaLabel, at.closest("label")?.innerText, at.innerText].map((text) => (text ?? "").trim());
}"""
OUTLINED = """() => {
  const at = document.activeElement;
  const ringed = ({ outlineStyle, boxShadow }) => outlineStyle !== "none" || boxShadow !== "none";
  return [at, at.closest("label"), ...at.children].some((each) => each && ringed(getComputedStyle(each)));
}"""
MOST = 80


def reach(tab: Page, name: str) -> None:
    """Press Tab until the element with this name has the focus, and assert that the focus can be seen."""
    for _ in range(MOST):
        tab.keyboard.press("Tab")
        if any(text.startswith(name) for text in tab.evaluate(FOCUSED)):
            break
    else:
        raise AssertionError(f"{name} is not reached with the key Tab")
    assert tab.evaluate(OUTLINED), name


def go(tab: Page, view: str) -> None:
    reach(tab, view)
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("link", name=view, exact=True)).to_have_attribute("aria-current", "page")


@pytest.mark.slow
def test_all_views_and_a_label_without_a_mouse(tab: Page, home, lite0, tmp_path):
    with service("with sounds", tmp_path, home.settings, home.cells[:40], lite0) as url:
        tab.goto(f"{url}/#drop")
        expect(tab.locator("main")).to_contain_text("Drop a photo or a sound")
        go(tab, "Photos")
        expect(tab.locator(".cell img").first).to_be_visible()
        before = labels(url)
        reach(tab, "Label defective, the head agrees")
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("2")
        expect(tab.get_by_role("status")).to_contain_text("Saved. 1 photo: intact.")
        assert [label for _, label in labels(url) - before] == ["intact"]
        tab.keyboard.press("u")
        expect(tab.get_by_role("status")).to_contain_text("Took the last change back.")
        assert labels(url) == before
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("dialog")).to_be_visible()
        tab.keyboard.press("Escape")
        expect(tab.get_by_role("dialog")).to_have_count(0)
        go(tab, "Map")
        reach(tab, "As spread out as possible")
        tab.keyboard.press("ArrowDown")
        expect(tab.get_by_role("radio", name="Classes apart")).to_be_checked()
        go(tab, "Learn")
        reach(tab, "Learn from my corrections")
        go(tab, "Heads")
        reach(tab, "How it was made")
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("rowheader", name="seed")).to_be_visible()
        go(tab, "Jobs")
        reach(tab, "Start a job")
        tab.keyboard.press("Enter")
        expect(tab.get_by_role("dialog")).to_be_visible()
        tab.keyboard.press("Escape")
        go(tab, "Try")
        reach(tab, "Choose files")
        with tab.expect_file_chooser():
            tab.keyboard.press("Space")


def labels(url: str) -> set[tuple[str, ...]]:
    """Return (id, label, …) of every labelled asset, as the service has them."""
    found = httpx.get(f"{url}/v1/labels", params={"task": TASK, "limit": 1000}).json()["labels"]
    return {(each["id"], *each["labels"]) for each in found}
