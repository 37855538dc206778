"""Someone who needs no terminal after `headwater up`: from an empty folder to a head in use, by mouse and keys alone.

Each step leaves a screenshot in the test's folder and prints its seconds: `pytest -m slow -s -k journey`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from services.cli.demo_photos import LABELS, cells
from services.processes import free_ports

PHOTOS = {"defective": 90, "intact": 110}
MISTAKEN = 10  # every tenth photo lies in the folder of the other class
LOOKED_AT = 15  # photos that are opened before the first head
CORRECTED = 12  # mistakes of the head that are opened
PATIENCE = 120_000


class Journey:
    """A user at a tab. Times and pictures of each step are kept.

    Attributes:
        truth: right class by the name of a photo: what this user sees in a photo.
        seconds: (step, its seconds), in their order.
        corrected: when the first label was corrected, in seconds of `time.monotonic`.
    """

    def __init__(self, tab: Page, truth: dict[str, str], pictures: Path) -> None:
        self.tab, self.truth, self.pictures = tab, truth, pictures
        self.seconds: list[tuple[str, float]] = []
        self.corrected: float | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds.append((name, time.monotonic() - start))
        self.tab.wait_for_timeout(300)  # pictures fade in
        self.tab.screenshot(path=self.pictures / f"{len(self.seconds):02d}-{name.replace(' ', '-')}.png")

    def drop(self, path: Path) -> None:
        """Drag a file or a folder from the desktop onto the page, and drop it."""
        session = self.tab.context.new_cdp_session(self.tab)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})
        session.detach()

    def go(self, view: str) -> None:
        self.tab.get_by_role("navigation", name="Views").get_by_role("link", name=view).click()

    @property
    def next(self) -> Locator:
        """The next useful step, as the page says it above the photos."""
        return self.tab.locator("hw-next")

    @property
    def verdict(self) -> Locator:
        return self.tab.locator(".outcome .verdict")

    def key_of(self, label: str) -> str:
        """The key that gives a class, as the column of classes says it."""
        row = self.tab.locator(".classes li").filter(has=self.tab.get_by_title(label, exact=True))
        return row.locator("kbd").inner_text()

    def put_right(self, most: int) -> int:
        """Look at photos one after the other, with keys alone, and correct their labels. Return how many were wrong."""
        keys = {label: self.key_of(label) for label in LABELS}
        opened = self.tab.locator("dialog.photo")
        self.tab.keyboard.press("Enter")
        wrong = 0
        for _ in range(most):
            name = opened.get_by_role("heading", name=".png")
            truth = self.truth[name.inner_text()]
            if truth not in opened.locator(".fact .large").first.inner_text():
                self.tab.keyboard.press(keys[truth])
                expect(self.tab.locator(".notice")).to_contain_text(f"Saved. 1 photo: {truth}.")
                self.corrected = self.corrected or time.monotonic()
                wrong += 1
            shown = name.inner_text()
            self.tab.keyboard.press("ArrowRight")
            expect(name).not_to_have_text(shown)
        self.tab.keyboard.press("Escape")
        expect(opened).to_have_count(0)
        return wrong


@pytest.fixture(scope="module")
def dragged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], Path]:
    """A folder of photos in folders of their classes, some in the wrong one; the truth; a photo that is not in it."""
    folder = tmp_path_factory.mktemp("desktop") / "cells"
    every = cells()
    truth = {cell.path.name: cell.label for cell in every}
    for label, other in zip(LABELS, reversed(LABELS), strict=True):
        for number, cell in enumerate([cell for cell in every if cell.label == label][: PHOTOS[label]]):
            place = folder / (other if number % MISTAKEN == 3 else label)
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(cell.path, place)
    return folder, truth, next(cell.path for cell in reversed(every) if cell.label == "defective")


@dataclass
class Up:
    """`headwater up` in an empty folder: what it has printed, and when it began and was ready, in seconds."""

    lines: list[str]
    began: float
    ready: float


@pytest.fixture
def up(tmp_path: Path, cache_dir: Path) -> Iterator[Up]:
    """`headwater up` as a process of its own, by the console script."""
    folder = tmp_path / "empty"
    folder.mkdir()
    ports = [str(port) for port in free_ports(2)]
    command = [Path(sys.executable).with_name("headwater"), "up"]
    command += ["--embedding-port", ports[0], "--classification-port", ports[1]]
    environment = os.environ | {"HEADWATER_CACHE": str(cache_dir)}
    began = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break
        yield Up(lines, began, time.monotonic())
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_the_first_line_of_up_is_the_address_of_the_page(up):
    found = re.fullmatch(r"open +(http://127\.0\.0\.1:\d+/)", up.lines[0])
    assert found is not None
    assert "<hw-app>" in httpx.get(found[1]).text


@pytest.mark.slow
def test_from_an_empty_folder_to_a_head_in_use(tab: Page, dragged, up, tmp_path):
    folder, truth, other = dragged
    url = up.lines[0].split()[1]
    user = Journey(tab, truth, tmp_path)
    total = sum(PHOTOS.values())

    with user.step("open the page"):
        tab.goto(url)
        expect(tab.get_by_role("heading", name="Drop a folder of photos here")).to_be_visible()

    with user.step("drop a folder"):
        user.drop(folder)
        expect(tab.locator(".keep")).to_contain_text("The folder of a photo is its class: defective (92), intact (108)")

    with user.step("store"):
        tab.get_by_role("button", name="Store and embed").click()
        expect(tab.get_by_role("heading", name="Embedding")).to_be_visible(timeout=PATIENCE)
        expect(tab.locator(".keep")).to_contain_text(f"{total} new")

    with user.step("look at the photos meanwhile"):
        tab.get_by_role("link", name="look at the photos").click()
        expect(tab.locator(".count")).to_contain_text(f"{total} photos")
        expect(user.next).to_contain_text("are being embedded")
        expect(user.next).to_contain_text(f"{total} photos labelled.", timeout=PATIENCE)

    with user.step("correct labels by keys"):
        wrong = user.put_right(LOOKED_AT)
        assert wrong

    with user.step("undo one and correct it again"):
        tab.keyboard.press("u")
        expect(tab.locator(".notice")).to_contain_text("Took the last change back.")
        tab.keyboard.press("Home")
        assert user.put_right(LOOKED_AT) == 1

    with user.step("learn"):
        user.next.get_by_role("link", name="Teach a head").click()
        tab.get_by_role("button", name="Learn from my labels").click()
        expect(user.verdict).to_have_text(
            re.compile(r"Learned\. It is right on \d+ of \d+ test photos\."), timeout=PATIENCE
        )

    with user.step("look at its mistakes"):
        tab.get_by_role("link", name="Look at what it gets wrong").click()
        expect(user.next).to_contain_text("Is a label wrong?")
        assert user.put_right(CORRECTED)

    with user.step("learn again"):
        user.next.get_by_role("link", name="Teach the head again").click()
        tab.get_by_role("button", name="Learn from my corrections").click()
        expect(user.verdict).to_contain_text("The new version", timeout=PATIENCE)
    expect(tab.locator(".outcome")).to_contain_text(re.compile(r"It is right on \d+ of \d+ \(\d+.%\)"))
    [head] = httpx.get(f"{url}heads").json()["heads"]
    old, new = head["versions"]

    with user.step("see the new answers"):
        user.go("Photos")
        tab.get_by_label("Show").select_option(label="Everything")
        tab.locator(".cell").first.click()
        tab.keyboard.press("Enter")
        opened = tab.locator("dialog.photo")
        name = opened.get_by_role("heading", name=".png").inner_text()
        photo = next(folder.rglob(name)).read_bytes()
        asked = httpx.post(f"{url}classify", params={"head": f"cells@{new}"}, files={"images": photo}).json()
        expect(opened).to_contain_text(re.compile(rf"The head says\s*{asked['items'][0]['answers'][0]['label']}"))
        tab.keyboard.press("Escape")

    with user.step("see them on the map"):
        user.go("Map")
        expect(tab.locator("hw-scatter canvas").first).to_be_visible()
        expect(tab.locator("hw-map")).to_contain_text("defective")

    with user.step("use it"):
        user.go("Learn")
        tab.get_by_role("button", name="Use it").click()
        expect(tab.locator(".outcome")).to_contain_text("Programs that ask for cells@production get this version.")
    assert production(url) == new

    with user.step("try another photo"):
        user.go("Try")
        user.drop(other)
        answer = tab.get_by_role("region", name="Answer of cells")
        asked = httpx.post(f"{url}classify", params={"head": "cells"}, files={"images": other.read_bytes()}).json()
        expect(answer.get_by_role("heading")).to_contain_text(asked["items"][0]["answers"][0]["label"])
        expect(tab.get_by_role("region", name="Most similar photos").get_by_role("listitem")).to_have_count(6)

    with user.step("see it on the map"):
        user.go("Map")
        expect(tab.locator("hw-scatter .extra").filter(has_text=other.name)).to_have_count(1)

    with user.step("go back to the version before"):
        user.go("Heads")
        tab.locator(".versions button").nth(1).click()
        tab.get_by_role("button", name="Go back to this version").click()
        expect(tab.locator(".notice")).to_contain_text("now get the version of")
    assert production(url) == old

    assert user.corrected is not None
    print(f"\n{up.ready - up.began:6.1f} s  headwater up")
    print(*(f"{seconds:6.1f} s  {step}" for step, seconds in user.seconds), sep="\n")
    print(f"{user.corrected - up.began:6.1f} s  from `headwater up` to the first corrected label")


def production(url: str) -> str:
    [head] = httpx.get(f"{url}heads").json()["heads"]
    return str(head["aliases"]["production"])
