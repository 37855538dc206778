"""The map's elements in a tab without the rest of the page, points to show, and where these are drawn."""

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page

Floats = NDArray[np.float64]

CENTRES = np.array([[-4.0, 2.0], [4.0, 2.0], [0.0, -2.0]])
RED, GREEN, BLUE = (220, 30, 30), (20, 160, 60), (30, 60, 220)


def call(tab: Page, files: str, module: str, script: str, argument: object = None) -> Any:
    """Return what `script`, a function of a module of the page and an argument, returns."""
    tab.route("**/page/app.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    if not tab.url.startswith(files):
        tab.goto(files)
    return tab.evaluate(f"async (argument) => ({script})(await import('/page/{module}'), argument)", argument)


class Chart(NamedTuple):
    """An `hw-scatter` alone on a page."""

    tab: Page

    @property
    def canvas(self) -> Locator:
        return self.tab.locator("hw-scatter canvas")

    def get(self, expression: str) -> Any:
        return self.tab.evaluate(
            f"(() => {{ const map = document.querySelector('hw-scatter'); return {expression}; }})()"
        )

    def set(self, **values: object) -> None:
        self.tab.evaluate(
            """async (values) => {
              const map = document.querySelector("hw-scatter");
              const [floats, bytes] = [Float32Array, Uint8Array];
              const kinds = {x: floats, y: floats, codes: bytes, colours: bytes, strong: bytes};
              for (const [name, value] of Object.entries(values))
                map[name] = kinds[name] && value ? kinds[name].from(value) : value;
              await map.updateComplete;
            }""",
            values,
        )
        self.drawn()

    def drawn(self) -> None:
        self.tab.wait_for_function(
            "() => { const map = document.querySelector('hw-scatter'); return !map.frame && map.drawn === 1; }"
        )
        self.tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def place(self, point: Floats) -> tuple[float, float]:
        """Return the pixel of the tab at which a point is drawn."""
        camera, box = self.get("map.camera"), self.canvas.bounding_box()
        assert box is not None
        x = box["x"] + box["width"] / 2 + (point[0] - camera["x"]) * camera["scale"]
        y = box["y"] + box["height"] / 2 - (point[1] - camera["y"]) * camera["scale"]
        return float(x), float(y)

    def plane(self, x: float, y: float) -> tuple[float, float]:
        """Return the point that is drawn at a pixel of the tab."""
        camera, box = self.get("map.camera"), self.canvas.bounding_box()
        assert box is not None
        right = camera["x"] + (x - box["x"] - box["width"] / 2) / camera["scale"]
        return right, camera["y"] - (y - box["y"] - box["height"] / 2) / camera["scale"]

    def picture(self) -> NDArray[np.uint8]:
        return np.array(Image.open(io.BytesIO(self.tab.screenshot())).convert("RGB"))

    def near(self, picture: NDArray[np.uint8], point: Floats, reach: int = 6) -> NDArray[np.float64]:
        """Return the median colour around a point."""
        x, y = self.place(point)
        part = picture[int(y) - reach : int(y) + reach, int(x) - reach : int(x) + reach]
        return np.median(part.reshape(-1, 3), axis=0)

    def events(self) -> list[dict[str, Any]]:
        return self.tab.evaluate("window.events.splice(0)")


RED, GREEN, BLUE = (220, 30, 30), (20, 160, 60), (30, 60, 220)


def colours(*first: tuple[int, int, int]) -> list[int]:
    table = np.full((256, 3), 128)
    table[: len(first)] = first
    return table.ravel().tolist()


def blobs(count: int = 600, spread: float = 0.12) -> tuple[Floats, NDArray[np.int64]]:
    """Return points of three dense clusters, and the number of each one's cluster."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 3, count)
    points = CENTRES[codes] + rng.normal(0, spread, (count, 2))
    return points.astype(np.float32).astype(np.float64), codes


def chart(tab: Page, files: str, points: Floats, codes: NDArray[np.int64], table: list[int] | None = None) -> Chart:
    call(
        tab,
        files,
        "parts/scatter.js",
        """() => {
          window.events = [];
          const map = document.createElement("hw-scatter");
          for (const name of ["pick", "hover", "lasso", "moved"])
            map.addEventListener(name, ({detail: {row = null, rows = null}}) =>
              events.push({name, row, rows: rows && Array.from(rows)}));
          document.body.replaceChildren(map);
        }""",
    )
    found = Chart(tab)
    found.set(
        x=points[:, 0].tolist(),
        y=points[:, 1].tolist(),
        codes=codes.tolist(),
        colours=table or colours(RED, GREEN, BLUE),
        label="Map",
    )
    return found


def drag(tab: Page, path: list[tuple[float, float]]) -> None:
    tab.mouse.move(*path[0])
    tab.mouse.down()
    for point in path[1:]:
        tab.mouse.move(*point, steps=3)
    tab.mouse.up()


def even_odd(polygon: Floats, points: Floats) -> NDArray[np.bool_]:
    """True for each point from which a ray upwards meets the polygon's edges an odd number of times."""
    ends = np.roll(polygon, -1, axis=0)
    odd = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, ends, strict=True):
        crosses = (ax <= points[:, 0]) != (bx <= points[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            height = ay + (points[:, 0] - ax) * (by - ay) / (bx - ax)
        odd ^= crosses & (points[:, 1] < height)
    return odd
