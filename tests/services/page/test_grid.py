"""The view "Photos": what the grid shows of many rows, and what keys and clicks do there."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.page_rows import Scripted, rows_body, some_columns, some_ids
from playwright.sync_api import Locator, Page, expect

CLASSES = ["hat", "dress", "duck", "sock"]
slow = pytest.mark.slow
Opener = Callable[..., Scripted]


def in_order(scripted: Scripted) -> list[str]:
    """Return the classes as their keys have them: most labels first."""
    return [each["name"] for each in scripted.overview()["tasks"][0]["classes"]]


@pytest.fixture
def opened(tab: Page, files: str) -> Opener:
    """Open the page on a scripted service and return it, once the first photos are there."""

    def open_page(count: int = 500, **more: Any) -> Scripted:
        columns = more.pop("columns", None) or some_columns(count, len(CLASSES))
        scripted = Scripted(columns, more.pop("classes", CLASSES), **more)
        scripted.serve(tab)
        tab.goto(files)
        expect(tab.locator(".cell").first).to_be_visible()
        return scripted

    return open_page


def cells(tab: Page) -> Locator:
    return tab.locator(".cell:visible")


def cell(tab: Page, place: int) -> Locator:
    """Return the cell at a place of the list, which is in sight."""
    columns = int(tab.locator("hw-grid").get_attribute("aria-colcount") or 0)
    line = tab.locator(f'[role="row"][aria-rowindex="{place // columns + 1}"]:visible')
    return line.locator(".cell").nth(place % columns)


def caption(scripted: Scripted, row: int) -> str:
    label = int(scripted.columns["label"][row])
    return "no label" if label < 0 else CLASSES[label]


def label_of(tab: Page, place: int) -> Locator:
    return cell(tab, place).locator(".label > :last-child")


def in_sight(tab: Page) -> int:
    """Return the place of the first photo that is wholly in sight."""
    seen = "(box) => box.top >= 100 && box.bottom < innerHeight && box.width"
    script = f"[...document.querySelectorAll('.cell')].filter((each) => ({seen})(each.getBoundingClientRect()))"
    return int(tab.evaluate(f"Math.min(...{script}.map((each) => each.cell.place))"))


def current(tab: Page) -> int:
    return int(tab.evaluate("document.querySelector('hw-grid').place"))


def selected(tab: Page) -> list[int]:
    script = "import('./page/base/state.js').then(({ state }) => [...state.selection].sort((a, b) => a - b))"
    return list(tab.evaluate(script.replace("./page", "/page")))


def id_of(row: int) -> str:
    return bytes(some_ids(row + 1)[row]).hex()


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=slow)])
def test_many_photos_take_some_cells(tab: Page, opened: Opener, count: int) -> None:
    scripted = opened(count)
    expect(tab.locator(".count")).to_contain_text(f"{count:,} photos")
    for row in (0, count // 2, count - 10):
        tab.evaluate(f"document.querySelector('hw-grid').go({row})")
        expect(label_of(tab, row)).to_have_text(caption(scripted, row))
        expect(cell(tab, row).locator("img")).to_be_visible()
        assert cells(tab).count() < 100
        assert tab.locator(".cell").count() < 200
    tab.evaluate("document.querySelector('hw-grid').scrollTop = 4e5")
    tab.wait_for_timeout(200)
    place = in_sight(tab)
    plan = tab.evaluate("document.querySelector('hw-grid').plan")
    assert abs(place / plan["columns"] - 4e5 / plan["line"]) <= 2
    expect(label_of(tab, place)).to_have_text(caption(scripted, place))


def test_keys_label_undo_and_move(tab: Page, opened: Opener) -> None:
    scripted = opened()
    first, second = in_order(scripted)[:2]
    cell(tab, 0).click()
    tab.keyboard.press("1")
    expect(label_of(tab, 0)).to_have_text(first)
    expect(tab.locator(".notice")).to_contain_text(f"Saved. 1 photo: {first}.")
    assert current(tab) == 1  # on to the next photo
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("2")
    expect(label_of(tab, 2)).to_have_text(second)
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Backspace")
    expect(label_of(tab, 2)).to_have_text("no label")
    for _ in range(2):
        tab.keyboard.press("u")
    expect(label_of(tab, 2)).to_have_text(caption(scripted, 2))
    expect(tab.locator(".notice")).to_contain_text("Took the last change back.")
    was = scripted.columns["label"][2]
    assert scripted.labels[id_of(0)] == [first]
    assert scripted.labels[id_of(2)] == ([] if was < 0 else [CLASSES[was]])


@slow
def test_letters_mean_the_class_that_begins_with_them(tab: Page, opened: Opener) -> None:
    opened()
    cell(tab, 0).click()
    tab.keyboard.press("s")  # only one class begins so
    expect(label_of(tab, 0)).to_have_text("sock")
    tab.keyboard.type("ock")  # the rest of the name is no other command
    assert current(tab) == 1
    tab.wait_for_timeout(1300)
    tab.keyboard.press("d")
    expect(tab.locator(".class.meant")).to_have_count(2)
    tab.keyboard.press("u")  # goes on with the name: it does not undo
    expect(label_of(tab, 1)).to_have_text("duck")
    expect(label_of(tab, 0)).to_have_text("sock")
    tab.wait_for_timeout(1300)
    tab.keyboard.press("d")
    first = tab.locator(".class.meant .name").first.inner_text()
    tab.keyboard.press("Enter")
    expect(label_of(tab, 2)).to_have_text(first)
    expect(tab.locator("dialog")).to_have_count(0)


@slow
def test_a_selection_is_made_by_keys_and_by_clicks(tab: Page, opened: Opener) -> None:
    scripted = opened()
    cell(tab, 1).click()
    cell(tab, 4).click(modifiers=["Shift"])
    assert selected(tab) == [1, 2, 3, 4]
    cell(tab, 2).click(modifiers=["Control"])
    cell(tab, 6).click(modifiers=["Control"])
    assert selected(tab) == [1, 3, 4, 6]
    expect(cell(tab, 3)).to_have_attribute("aria-selected", "true")
    expect(cell(tab, 2)).to_have_attribute("aria-selected", "false")
    tab.keyboard.press("3")
    name = in_order(scripted)[2]
    expect(tab.locator(".notice")).to_contain_text(f"4 photos: {name}.")
    assert selected(tab) == []
    for row in (1, 3, 4, 6):
        expect(label_of(tab, row)).to_have_text(name)
    tab.keyboard.press("u")
    expect(label_of(tab, 3)).to_have_text(caption(scripted, 3))
    assert selected(tab) == [1, 3, 4, 6]
    tab.keyboard.press("Escape")
    tab.keyboard.press("Home")
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("Shift+ArrowDown")
    columns = int(tab.locator("hw-grid").get_attribute("aria-colcount") or 0)
    assert selected(tab) == list(range(columns + 2))
    tab.keyboard.press("Escape")
    tab.keyboard.press(" ")
    assert selected(tab) == [columns + 1]


@slow
def test_all_of_a_hundred_thousand_can_be_selected_and_labelled(tab: Page, opened: Opener) -> None:
    scripted = opened(100_000)
    cell(tab, 0).click()
    tab.keyboard.press("Control+a")
    expect(tab.locator(".count")).to_contain_text("100,000 selected")
    tab.keyboard.press("1")
    expect(tab.locator(".notice")).to_contain_text("100,000 photos", timeout=60_000)
    name = in_order(scripted)[0]
    assert len(scripted.labels) == 100_000
    assert {tuple(labels) for labels in scripted.labels.values()} == {(name,)}
    assert max(len(body["labels"]) for body in scripted.asked("v1/labels")) <= 10_000


@slow
@pytest.mark.parametrize("key", ["1", "Backspace"])
def test_a_label_that_is_refused_is_taken_back(tab: Page, opened: Opener, key: str) -> None:
    scripted = opened(refuses="This split is frozen.")
    row = int(np.flatnonzero(scripted.columns["label"] == 1)[0])
    tab.evaluate(f"document.querySelector('hw-grid').go({row})")
    cell(tab, row).click()
    tab.keyboard.press(key)
    expect(tab.locator(".notice .error")).to_have_text("This split is frozen.")
    expect(label_of(tab, row)).to_have_text("dress")
    tab.keyboard.press("u")
    expect(tab.locator(".notice")).to_contain_text("There is nothing to undo.")


@slow
def test_only_the_part_that_was_saved_stays_and_can_be_undone(tab: Page, opened: Opener) -> None:
    scripted = opened(5000)
    answer = scripted._found

    def second_fails(path: str, method: str, body: Any) -> Any:
        if path == "v1/labels" and len(scripted.asked("v1/labels")) == 2:
            scripted.refuses = "No more."
        return answer(path, method, body)

    scripted._found = second_fails  # type: ignore[method-assign]
    cell(tab, 0).click()
    tab.keyboard.press("Control+a")
    tab.evaluate("import('/page/base/state.js').then(({ state }) => { window.rows = state.rows; })")
    tab.keyboard.press("1")
    expect(tab.locator(".notice")).to_contain_text("4,000 photos")
    name = in_order(scripted)[0]
    assert tab.evaluate("rows.labels(3999)") == [name]
    was = int(scripted.columns["label"][4999])
    assert tab.evaluate("rows.labels(4999)") == ([] if was < 0 else [CLASSES[was]])
    scripted.refuses = None
    tab.keyboard.press("u")
    expect(tab.locator(".notice")).to_contain_text("Took the last change back.", timeout=10_000)
    for row in range(0, 4000, 97):
        code = scripted.columns["label"][row]
        assert scripted.labels[id_of(row)] == ([CLASSES[code]] if code >= 0 else [])


@slow
def test_rows_that_are_read_while_a_label_is_saved_show_the_new_label(tab: Page, opened: Opener) -> None:
    scripted = opened()
    row = int(np.flatnonzero(scripted.columns["label"] == 0)[0])
    held: list[Any] = []
    tab.route("**/v1/labels", lambda route: held.append(route))
    tab.evaluate(f"document.querySelector('hw-grid').go({row})")
    cell(tab, row).click()
    tab.keyboard.type("sock")
    expect(label_of(tab, row)).to_have_text("sock")
    tab.evaluate("import('/page/base/state.js').then(({ state }) => state.load())")  # the service has the old label
    expect(label_of(tab, row)).to_have_text("sock")
    expect(tab.locator(".count")).to_contain_text("Saving")
    held[0].fulfill(json={})
    expect(tab.locator(".notice")).to_contain_text("Saved.")
    expect(label_of(tab, row)).to_have_text("sock")
    tab.unroute("**/v1/labels")
    tab.keyboard.press("u")
    expect(label_of(tab, row)).to_have_text("hat")
    assert scripted.labels == {id_of(row): ["hat"]}


@slow
def test_a_selection_stays_with_its_photos_when_others_come_and_go(tab: Page, opened: Opener) -> None:
    scripted = opened(20)
    cell(tab, 3).click(modifiers=["Control"])
    cell(tab, 5).click(modifiers=["Control"])
    scripted.columns = {name: values[1:] for name, values in scripted.columns.items()}  # the first one is removed
    tab.evaluate("import('/page/base/state.js').then(({ state }) => state.load())")
    assert selected(tab) == [2, 4]


@slow
def test_a_photo_that_is_no_longer_shown_makes_room_for_the_next(tab: Page, opened: Opener) -> None:
    scripted = opened()
    tab.get_by_label("Show").select_option(label="Without a label")
    without = np.flatnonzero(scripted.columns["label"] < 0)
    expect(tab.locator(".count")).to_contain_text(f"{len(without)} photos")
    cell(tab, 0).click()
    tab.keyboard.press("1")
    expect(tab.locator(".count")).to_contain_text(f"{len(without) - 1} photos")
    assert current(tab) == 0
    tab.keyboard.press("2")
    expect(tab.locator(".count")).to_contain_text(f"{len(without) - 2} photos")
    expect(tab.locator(".count")).not_to_contain_text("Saving")
    assert list(scripted.labels) == [id_of(row) for row in without[:2]]


@slow
def test_a_photo_opens_large_and_is_labelled_there(tab: Page, opened: Opener) -> None:
    scripted = opened()
    cell(tab, 2).click()
    tab.keyboard.press("Enter")
    dialog = tab.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="photo.jpg")).to_be_visible()
    expect(dialog.locator("img")).to_be_visible()
    tab.keyboard.press("1")
    first = in_order(scripted)[0]
    expect(dialog.locator(".fact .large").first).to_contain_text(first)
    tab.keyboard.press("u")
    expect(tab.locator(".notice")).to_contain_text("Took the last change back.")
    tab.keyboard.press("ArrowRight")
    expect(dialog.locator("img")).to_be_visible()
    assert current(tab) == 3
    tab.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(cell(tab, 3)).to_be_focused()
    asked = [path for _, path, _ in scripted.requests if path.endswith("/thumbnail")]
    assert asked == [f"v1/assets/{id_of(row)}/thumbnail" for row in (2, 3)]


@slow
def test_the_history_of_labels_is_shown_without_paths(tab: Page, opened: Opener) -> None:
    change = "2026-03-02T11:30:00Z"
    first = {"labels": ["hat"], "source": "/srv/photos/hat/1.jpg", "at": "2026-03-01T10:00:00Z", "until": change}
    now = {"labels": ["sock"], "source": "page", "at": change, "until": None}
    opened(answers={"v1/labels/history": {"id": "", "history": [first, now]}})
    cell(tab, 0).dblclick()
    expect(tab.locator(".fact li")).to_have_text(
        [re.compile(r"sock \(now\)\s*by page"), re.compile(r"hat\s*by 1\.jpg")]
    )


@slow
def test_a_sound_can_be_heard(tab: Page, opened: Opener) -> None:
    columns = {**some_columns(3, 2), "modality": np.array([1, 0, 0], np.uint8)}
    sound = f"v1/assets/{id_of(0)}/sound"
    body = rows_body(columns, labels=CLASSES, modalities=["image", "audio"])
    scripted = opened(columns=columns, answers={"v1/rows": body, sound: b"RIFF"})
    expect(cell(tab, 0).locator(".kind")).to_have_text("audio")
    cell(tab, 0).dblclick()
    expect(tab.locator("audio")).to_have_attribute("src", re.compile("^blob:"))
    assert sound in [path for _, path, _ in scripted.requests]


@slow
def test_pictures_come_back_with_the_service(tab: Page, opened: Opener) -> None:
    scripted = opened(2000)
    expect(cell(tab, 0).locator("img")).to_be_visible()
    scripted.down = True
    tab.evaluate("document.querySelector('hw-grid').go(1000)")
    tab.wait_for_timeout(500)
    expect(cell(tab, 1000).locator("img")).to_be_hidden()
    scripted.down = False
    expect(cell(tab, 1000).locator("img")).to_be_visible(timeout=10_000)


@slow
def test_what_passes_quickly_is_not_asked_for(tab: Page, opened: Opener) -> None:
    scripted = opened(50_000)
    expect(cell(tab, 0).locator("img")).to_be_visible()
    scripted.requests.clear()
    jump = """new Promise((done) => {
      const grid = document.querySelector('hw-grid');
      let frame = 0;
      const next = () => { grid.scrollTop += 3000; if (++frame < 60) requestAnimationFrame(next); else done(); };
      next();
    })"""
    tab.evaluate(jump)
    tab.wait_for_timeout(200)
    place = in_sight(tab)
    expect(cell(tab, place).locator("img")).to_be_visible()
    asked = [each for body in scripted.asked("v1/thumbnails") for each in body["ids"]]
    assert len(asked) == len(set(asked)) < 100


MILLION = """async (count) => {
  const { Rows } = await import("/page/base/rows.js");
  const { state } = await import("/page/base/state.js");
  const column = (name, dtype, width, at) => ({ name, dtype, bytes: width * count, offset: at * count });
  const columns = [column("id", "uint8", 32, 0), column("modality", "uint8", 1, 32), column("label", "int32", 4, 33)];
  const labels = ["hat", "dress", "duck", "sock"];
  const header = { rows: count, version: "m", labels, modalities: ["image"], columns };
  let text = JSON.stringify(header);
  text += " ".repeat(7 - ((text.length + 3) % 8));
  const buffer = new ArrayBuffer(4 + text.length + 37 * count);
  new DataView(buffer).setUint32(0, text.length, true);
  new Uint8Array(buffer).set(new TextEncoder().encode(text), 4);
  const rows = new Rows(buffer);
  const ids = new DataView(buffer, rows.columns.id.byteOffset);
  for (let row = 0; row < count; row++) {
    ids.setUint32(32 * row + 4, row);
    rows.columns.label[row] = row % 4;
  }
  state.change({ rows });
}"""


@slow
def test_pictures_are_asked_for_when_the_scrolling_slows_down(tab: Page, opened: Opener) -> None:
    opened(50_000)
    slowing = """new Promise((done) => {
      const grid = document.querySelector('hw-grid');
      const steps = [9000, 9000, ...Array(40).fill(3)];
      const next = () => {
        grid.scrollTop += steps.shift();
        if (steps.length) requestAnimationFrame(next); else done();
      };
      next();
    })"""
    tab.evaluate(slowing)
    place = in_sight(tab)
    assert place > 300
    expect(cell(tab, place).locator("img")).to_be_visible()


@slow
def test_a_million_rows_scroll_to_their_end(tab: Page, opened: Opener) -> None:
    tab.set_viewport_size({"width": 390, "height": 844})
    opened(heads=[])
    count = 1_000_000
    tab.evaluate(MILLION, count)
    expect(tab.locator(".count")).to_contain_text("1,000,000 photos")
    tab.locator("hw-grid").evaluate("(grid) => { grid.scrollTop = grid.scrollHeight; }")
    expect(label_of(tab, count - 1)).to_have_text(CLASSES[(count - 1) % 4])
    expect(cell(tab, count - 1)).to_be_in_viewport()
    cell(tab, count - 1).click()
    tab.keyboard.press("Home")
    expect(cell(tab, 0)).to_be_focused()
    expect(cell(tab, 0)).to_be_in_viewport()
    tab.keyboard.press("End")
    expect(cell(tab, count - 1)).to_be_focused()
    expect(cell(tab, count - 1)).to_be_in_viewport()


@slow
def test_the_grid_has_names_and_one_place_for_the_tab_key(tab: Page, opened: Opener) -> None:
    scripted = opened(100)
    grid = tab.get_by_role("grid", name="Photos")
    lines = -(-100 // int(grid.get_attribute("aria-colcount") or 0))
    expect(grid).to_have_attribute("aria-rowcount", str(lines))
    label, prediction = scripted.columns["label"], scripted.columns["prediction"]
    row = int(np.flatnonzero((label >= 0) & (prediction >= 0) & (label != prediction))[0])
    answer = CLASSES[prediction[row]]
    tab.evaluate(f"document.querySelector('hw-grid').go({row})")
    expect(cell(tab, row)).to_have_attribute("aria-label", f"Label {caption(scripted, row)}, the head says {answer}")
    expect(cell(tab, row).locator(".sign")).to_have_text("≠")
    expect(tab.locator("hw-grid .cell[tabindex='0']")).to_have_count(1)
    tab.locator("nav a").first.focus()
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.classList.contains('cell')"):
            break
    expect(cell(tab, row)).to_be_focused()
    tab.locator("hw-grid").evaluate("(grid) => { grid.scrollTop = 0; }")
    tab.keyboard.press("ArrowRight")
    expect(cell(tab, row + 1)).to_be_focused()


@slow
def test_several_labels_are_added_and_removed_one_by_one(tab: Page, opened: Opener) -> None:
    columns = some_columns(10, 4, labelled=1)
    columns["labels_end"] = np.arange(1, 11, dtype=np.uint32)
    columns["labels_flat"] = columns["label"].copy()
    columns["label"][0] = columns["labels_flat"][0] = 0
    scripted = opened(columns=columns, many=True)
    cell(tab, 0).click()
    tab.keyboard.type("sock")
    expect(label_of(tab, 0)).to_have_text("hat, sock")
    tab.wait_for_timeout(1300)
    tab.keyboard.press("h")
    expect(label_of(tab, 0)).to_have_text("sock")
    tab.keyboard.press("u")
    expect(label_of(tab, 0)).to_have_text("hat, sock")
    expect(tab.locator(".notice")).to_contain_text("Took the last change back.")
    assert scripted.labels == {id_of(0): ["hat", "sock"]}


@slow
def test_a_reader_looks_and_changes_nothing(tab: Page, opened: Opener) -> None:
    scripted = opened(role="read")
    cell(tab, 0).click()
    tab.keyboard.press("1")
    tab.keyboard.press("Backspace")
    tab.wait_for_timeout(200)
    assert scripted.labels == {}
    expect(tab.get_by_placeholder("New class")).to_have_count(0)
    expect(tab.get_by_role("button", name="Near-duplicates")).to_be_disabled()
