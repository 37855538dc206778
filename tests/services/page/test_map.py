"""The view of the map, with answers as the service gives them: what it draws, counts, says and asks for."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from helpers.charts import CENTRES, Chart, Floats, blobs, drag
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

NAMES = ["cat", "dog", "hat"]
ROWS = 300


def framed(header: Mapping[str, object], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return an answer of GET /v1/rows, byte for byte."""
    contents, described = b"", []
    for name, values in columns.items():
        described.append({"name": name, "dtype": str(values.dtype), "bytes": values.nbytes, "offset": len(contents)})
        contents += values.tobytes() + bytes(-values.nbytes % 8)
    head = json.dumps({**header, "columns": described}).encode()
    head += b" " * (-(4 + len(head)) % 8)
    return len(head).to_bytes(4, "little") + head + contents


class Store(NamedTuple):
    """Columns of 300 photos in three clusters. The head is wrong about every tenth one; four have no vector."""

    points: Floats
    label: NDArray[np.int32]
    prediction: NDArray[np.int32]
    probability: NDArray[np.float32]
    split: NDArray[np.uint8]

    @property
    def placed(self) -> NDArray[np.bool_]:
        return np.isfinite(self.points[:, 0])

    def columns(self, *, task: bool = True) -> dict[str, NDArray[Any]]:
        """Return all columns without places; without a task, only those that any file has."""
        number = np.arange(ROWS, dtype=np.uint32)
        found: dict[str, NDArray[Any]] = {
            "id": np.repeat(number[:, None], 8, 1).view(np.uint8).reshape(-1),
            "modality": (number % 3 == 0).astype(np.uint8),
        }
        if task:
            found |= {"label": self.label, "split": self.split}
            found |= {"prediction": self.prediction, "probability": self.probability}
        return found


def store() -> Store:
    rng = np.random.default_rng(10)
    points, codes = blobs(ROWS, 0.6)
    points[-4:] = np.nan
    label = codes.astype(np.int32)
    label[5::20] = -1
    prediction = np.where(np.arange(ROWS) % 10 == 0, (codes + 1) % 3, codes).astype(np.int32)
    probability = rng.uniform(0.34, 1, ROWS).astype(np.float32)
    return Store(points, label, prediction, probability, rng.integers(0, 4, ROWS).astype(np.uint8))


@dataclass
class Service:
    """Answers of a service: the store's rows, places on demand, a grey picture for each photo."""

    store: Store
    asked: list[dict[str, list[str]]]

    def rows(self, route: Route) -> None:
        query = parse_qs(urlparse(route.request.url).query)
        self.asked.append(query)
        axes = query.get("axes", [None])[0]
        if axes == "umap":
            message = "UMAP is not installed with this service. Install it: pip install umap-learn"
            route.fulfill(status=422, json={"error": {"code": "no_umap", "message": message}})
            return
        columns = {} if query.get("columns") == ["x,y"] else self.store.columns(task="task" in query)
        if axes:
            flip = -1 if axes == "lda" else 1
            columns |= {name: (flip * self.store.points[:, i]).astype(np.float32) for i, name in enumerate("xy")}
        kind = {"kind": axes, "explained": [0.3, 0.12]} if axes else None
        header = {
            "rows": ROWS,
            "version": "1",
            "labels": NAMES,
            "head": "pets@1",
            "encoder": "lite0",
            "modalities": ["image", "audio"],
            "axes": kind,
        }
        route.fulfill(body=framed(header, columns), content_type="application/vnd.headwater.columns")

    def thumbnails(self, route: Route) -> None:
        with io.BytesIO() as file:
            Image.new("RGB", (60, 40), (90, 90, 90)).save(file, "WEBP")
            picture = file.getvalue()
        ids = route.request.post_data_json["ids"]
        items = [{"id": each, "type": "image/webp", "bytes": len(picture), "width": 60, "height": 40} for each in ids]
        head = json.dumps({"items": items}).encode()
        head += b" " * (-(4 + len(head)) % 8)
        route.fulfill(body=len(head).to_bytes(4, "little") + head + picture * len(ids))


def overview(**values: object) -> dict[str, object]:
    task = {
        "name": "pets",
        "labelled": ROWS,
        "many": False,
        "classes": [{"name": name, "train": 100, "val": 0, "test": 0, "ood": 0, "none": 0} for name in NAMES],
    }
    encoder = {
        "name": "lite0",
        "fingerprint": "f",
        "rows": ROWS - 4,
        "dimension": 8,
        "modalities": ["image"],
        "network": True,
        "texts": False,
    }
    found = {
        "store": True,
        "assets": ROWS,
        "modalities": {"image": ROWS},
        "quarantined": 0,
        "tasks": [task],
        "encoders": [encoder],
        "version": "1",
    }
    return found | values


def opened(tab: Page, files: str, **values: object) -> Service:
    """Open the map in front of a service with `overview(**values)`."""
    service = Service(store(), [])

    def answer(body: object) -> Callable[[Route], None]:
        return lambda route: route.fulfill(json=body)

    tab.route("**/v1/me", answer({"name": None, "role": "admin", "keys": False, "jobs": True}))
    tab.route("**/v1/overview", answer(overview(**values)))
    tab.route("**/heads", answer({"heads": [{"name": "pets", "version": 1, "task": "pets", "encoders": ["lite0"]}]}))
    tab.route("**/v1/rows*", service.rows)
    tab.route("**/v1/thumbnails", service.thumbnails)
    tab.goto(f"{files}/#map")
    return service


def shown(tab: Page) -> dict[str, int]:
    """Return the counts of the legend by name."""
    rows = tab.locator(".legend tr")
    expect(rows.first).to_be_visible()
    return {row.locator("th").inner_text().strip(): int(row.locator("td").inner_text()) for row in rows.all()}


def state(tab: Page, expression: str) -> Any:
    return tab.evaluate(
        f"async () => {{ const {{ state }} = await import('/page/base/state.js'); return {expression}; }}"
    )


def test_the_legend_counts_what_is_on_the_map(tab: Page, files: str) -> None:
    service = opened(tab, files)
    data = service.store
    counts = {name: int(((data.label == code) & data.placed).sum()) for code, name in enumerate(NAMES)}
    assert shown(tab) == counts | {"Without a label": int(((data.label < 0) & data.placed).sum())}
    assert list(shown(tab))[-1] == "Without a label"
    expect(tab.locator("hw-scatter canvas")).to_have_attribute(
        "aria-label", "Map of 296 photos, coloured by: Label. The table beside it has the counts."
    )
    expect(tab.locator(".controls")).to_contain_text("4 photos without a vector are not on the map")
    expect(tab.locator(".controls")).to_contain_text("42 % of how the photos differ")
    assert [query.get("columns") for query in service.asked] == [None, ["x,y"]]


@pytest.mark.slow
def test_colours_can_mean_five_things(tab: Page, files: str) -> None:
    data = opened(tab, files).store
    probability, split, placed = data.probability[data.placed], data.split[data.placed], data.placed
    shown(tab)
    tab.get_by_label("Answer of the head").check()
    assert shown(tab) == {name: int(((data.prediction == code) & placed).sum()) for code, name in enumerate(NAMES)}
    tab.get_by_label("How sure the head is").check()
    bins = np.histogram(probability, [0, 0.5, 0.7, 0.9, 0.99, 1.01])[0].tolist()
    names = ["Below 50 %", "50 to 70 %", "70 to 90 %", "90 to 99 %", "99 % and more"]
    assert shown(tab) == {name: count for name, count in zip(names, bins, strict=True) if count}
    tab.get_by_label("Split").check()
    assert shown(tab) == {
        name: int((split == code).sum()) for code, name in enumerate(["In no split", "Training", "Validation", "Test"])
    }
    tab.get_by_label("Label and head disagree").check()
    wrong = (data.label >= 0) & (data.label != data.prediction) & placed
    assert shown(tab)["They disagree"] == wrong.sum()
    expect(tab.get_by_role("button", name="They disagree")).to_have_attribute(
        "aria-pressed", "true"
    )  # what is looked for
    tab.get_by_role("button", name=f"Look at {wrong.sum()} photos").click()
    assert state(tab, "Array.from(state.shown)") == np.flatnonzero(wrong).tolist()


@pytest.mark.slow
def test_files_without_any_label_are_coloured_by_their_kind(tab: Page, files: str) -> None:
    data = opened(tab, files, tasks=[]).store
    kinds = np.arange(ROWS)[data.placed] % 3 == 0
    assert shown(tab) == {"image": int((~kinds).sum()), "audio": int(kinds.sum())}
    expect(tab.locator("input[name=by]")).to_have_count(1)
    Chart(tab).drawn()


@pytest.mark.slow
def test_a_class_of_the_legend_stands_out_until_it_is_clicked_again(tab: Page, files: str) -> None:
    data = opened(tab, files).store
    shown(tab)
    strong = "document.querySelector('hw-scatter').strong"
    assert tab.evaluate(strong) is None
    tab.get_by_role("button", name="dog").click()
    assert tab.evaluate(f"Array.from({strong})") == (data.label == 1).astype(int).tolist()
    tab.get_by_role("button", name="dog").click()
    assert tab.evaluate(strong) is None
    tab.get_by_role("button", name="dog").click()
    state(tab, "state.change({choice: {...state.choice, task: 'another'}})")
    expect(tab.get_by_role("button", name="dog")).to_have_attribute("aria-pressed", "false")


@pytest.mark.slow
def test_only_what_is_shown_is_strong(tab: Page, files: str) -> None:
    data = opened(tab, files).store
    shown(tab)
    state(tab, "state.narrow({show: 'unlabelled'})")
    expect(tab.locator(".summary")).to_contain_text(f"{((data.label < 0) & data.placed).sum()} photos of 300")
    assert (
        tab.evaluate("Array.from(document.querySelector('hw-scatter').strong)") == (data.label < 0).astype(int).tolist()
    )
    tab.get_by_role("button", name="Show everything").click()
    expect(tab.locator(".summary")).to_have_text("296 photos")


@pytest.mark.slow
def test_a_label_that_changes_is_painted_at_once(tab: Page, files: str) -> None:
    opened(tab, files)
    before = shown(tab)
    tab.route("**/v1/labels*", lambda route: route.fulfill(json={}))
    row = state(tab, "state.rows.columns.label.indexOf(0)")
    state(tab, f"state.labelling.set([{row}], 'dog')")
    expect(tab.locator(".legend tr", has_text="dog").locator("td")).to_have_text(str(before["dog"] + 1))
    assert tab.evaluate(f"document.querySelector('hw-scatter').codes[{row}]") == 1


@pytest.mark.slow
def test_other_axes_and_what_the_service_says_against_them(tab: Page, files: str) -> None:
    service = opened(tab, files)
    shown(tab)
    tab.get_by_label("Classes apart").check()
    tab.wait_for_function(
        "() => document.querySelector('hw-scatter').x[0] > 0 === " + str(bool(service.store.points[0, 0] < 0)).lower()
    )
    tab.get_by_label("Neighbours together").click()
    expect(tab.get_by_role("alert")).to_contain_text("UMAP is not installed with this service.")
    expect(tab.get_by_label("Classes apart")).to_be_checked()
    assert tab.locator("hw-scatter").count() == 1
    assert state(tab, "state.choice.axes") == "lda"


@pytest.mark.slow
def test_a_lasso_leads_to_its_photos_and_back(tab: Page, files: str) -> None:
    data = opened(tab, files).store
    shown(tab)
    map_ = Chart(tab)
    map_.drawn()
    x, y = map_.place(CENTRES[1])
    tab.keyboard.down("Shift")
    drag(tab, [(x - 120, y - 120), (x + 120, y + 120)])
    tab.keyboard.up("Shift")
    (left, top), (right, bottom) = map_.plane(x - 120, y - 120), map_.plane(x + 120, y + 120)
    points = data.points
    inside = np.flatnonzero(
        (points[:, 0] > left) & (points[:, 0] < right) & (points[:, 1] > bottom) & (points[:, 1] < top)
    )
    camera = map_.get("map.camera")
    tab.get_by_role("button", name=f"{len(inside)} photos: look at them").click()
    tab.wait_for_url("**/#browse")
    assert state(tab, "Array.from(state.filter.only.rows)") == inside.tolist()
    assert state(tab, "Array.from(state.shown)") == inside.tolist()
    tab.get_by_role("link", name="Map").click()
    expect(tab.locator(".summary")).to_contain_text(f"{len(inside)} photos of 300")
    map_.drawn()
    assert map_.get("map.camera") == camera, "the map is as it was left"


@pytest.mark.slow
def test_an_empty_lasso_says_so_and_can_be_cleared(tab: Page, files: str) -> None:
    opened(tab, files)
    shown(tab)
    Chart(tab).drawn()
    tab.keyboard.down("Shift")
    drag(tab, [(270.0, 700.0), (300.0, 760.0)])
    tab.keyboard.up("Shift")
    expect(tab.locator(".found")).to_contain_text("No photos are in there.")
    tab.get_by_role("button", name="Clear").click()
    expect(tab.locator(".found")).to_have_count(0)


@pytest.mark.slow
def test_a_pointer_shows_a_photo_and_a_click_opens_it(tab: Page, files: str) -> None:
    data = opened(tab, files).store
    shown(tab)
    map_ = Chart(tab)
    map_.drawn()
    far = np.flatnonzero(data.label == 0)
    row = int(far[np.nanargmin(data.points[far, 0])])  # the leftmost point: nothing is next to it
    tab.mouse.move(*map_.place(data.points[row]))
    card = tab.locator("hw-map-card")
    expect(card.locator("img")).to_be_visible()
    expect(card).to_contain_text("cat")
    tab.mouse.click(*map_.place(data.points[row]))
    assert state(tab, "state.open") == row
    expect(card).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"store": False, "assets": 0, "tasks": [], "encoders": []}, "There are no photos yet."),
        ({"encoders": []}, "The photos have no vectors yet"),
    ],
)
def test_a_map_of_nothing_says_what_to_do(tab: Page, files: str, values: dict[str, object], sentence: str) -> None:
    opened(tab, files, **values)
    expect(tab.locator(".map .empty")).to_contain_text(sentence)
    expect(tab.locator(".map .empty").get_by_role("link")).to_have_attribute("href", "#browse")


@pytest.mark.slow
def test_colours_follow_the_theme_and_a_phone_has_room(browser: Browser, files: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    tab = context.new_page()
    opened(tab, files)
    shown(tab)
    first = "Array.from(document.querySelector('hw-scatter').colours.slice(0, 3))"
    dark = tab.evaluate(first)
    tab.emulate_media(color_scheme="light")
    tab.wait_for_function(f"() => JSON.stringify({first}) !== {json.dumps(json.dumps(dark, separators=(',', ':')))}")
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    box = tab.locator("hw-scatter canvas").bounding_box()
    assert box is not None
    assert box["width"] == 390
    assert box["height"] > 350
    context.close()
