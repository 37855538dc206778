"""The map's pure functions: its camera, what is inside of a polygon, the order of drawing, and its colours."""

import numpy as np
import pytest
from helpers.charts import Floats, call, even_odd
from playwright.sync_api import Page

OKLAB_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
SEEN = {
    "all colours": (np.eye(3), 0.09),
    "without red": (
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        0.045,
    ),
    "without green": (
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
        0.045,
    ),
    "without blue": (
        np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
        0.025,
    ),
}
"""Matrices of Machado et al. (2009) for linear sRGB, and the least distance in OKLab of two colours of classes."""


def test_camera_round_trips(tab: Page, files: str) -> None:
    rng = np.random.default_rng(0)
    cases = [
        {
            "camera": dict(zip(("x", "y", "scale"), row[:3], strict=True)),
            "point": [*row[3:5]],
            "factor": row[5],
            "move": [*row[6:]],
        }
        for row in np.column_stack(
            [
                rng.normal(0, 5, (50, 2)),
                rng.uniform(0.5, 500, 50),
                rng.uniform(0, 700, (50, 2)),
                rng.uniform(0.2, 5, 50),
                rng.normal(0, 90, (50, 2)),
            ]
        ).tolist()
    ]
    found = call(
        tab,
        files,
        "parts/scatter/camera.js",
        """(m, cases) => cases.map(({camera, point, factor, move}) => {
          const size = {width: 800, height: 600};
          const plane = m.toPlane(camera, size, ...point);
          return {
            plane,
            back: m.toScreen(camera, size, ...plane),
            zoomed: m.toScreen(m.zoom(camera, size, factor, ...point), size, ...plane),
            panned: m.toScreen(m.pan(camera, ...move), size, ...plane),
          };
        })""",
        cases,
    )
    for case, each in zip(cases, found, strict=True):
        camera, point = case["camera"], np.array(case["point"])
        expected = np.array([camera["x"], camera["y"]]) + (point - (400, 300)) * (1, -1) / camera["scale"]
        np.testing.assert_allclose(each["plane"], expected)
        np.testing.assert_allclose(each["back"], point, atol=1e-8)
        np.testing.assert_allclose(each["zoomed"], point, atol=1e-6)
        np.testing.assert_allclose(each["panned"], point + case["move"], atol=1e-6)


@pytest.mark.slow
def test_the_first_view_holds_the_points_but_not_one_that_is_far_away(tab: Page, files: str) -> None:
    points = np.random.default_rng(1).normal(0, 1, (2000, 2))
    points[0] = [1000, -1000]
    points[1] = np.nan
    found = call(
        tab,
        files,
        "parts/scatter/camera.js",
        """(m, [x, y]) => {
          const bounds = m.bounds(Float32Array.from(x), Float32Array.from(y));
          const size = {width: 800, height: 600};
          const home = m.fit(bounds, size);
          return {bounds, home, near: m.allowed(home, home, 1e9), lost: m.kept({...home, x: 1e6}, bounds)};
        }""",
        points.T.tolist(),
    )
    camera = found["home"]
    screen = np.array([400, 300]) + (points[2:] - (camera["x"], camera["y"])) * camera["scale"] * (1, -1)
    assert ((screen > 0) & (screen < (800, 600))).all(1).sum() >= 1990
    assert camera["scale"] > 50, "one point far away does not make the others a dot"
    assert 1000 < found["near"] < 1e5
    assert found["lost"]["x"] <= found["bounds"]["right"]


@pytest.mark.parametrize("values", [[], [float("nan")], [3.0], [2.0, 2.0]])
@pytest.mark.slow
def test_bounds_of_few_points_have_an_area(tab: Page, files: str, values: list[float]) -> None:
    found = call(
        tab, files, "parts/scatter/camera.js", "(m, v) => m.bounds(Float32Array.from(v), Float32Array.from(v))", values
    )
    assert found["right"] > found["left"]
    assert found["top"] > found["bottom"]


def test_points_in_polygons(tab: Page, files: str) -> None:
    """Polygons that cross themselves are among them. The page sends a ray to the right; the check sends one upwards."""
    rng = np.random.default_rng(2)
    points = rng.uniform(-1.2, 1.2, (1500, 2)).astype(np.float32).astype(np.float64)
    points[:5] = np.nan
    strong = rng.random(len(points)) < 0.7
    polygons = [rng.uniform(-1, 1, (corners, 2)) for corners in (3, 3, 4, 5, 8, 20, 60)]
    found = call(
        tab,
        files,
        "parts/scatter/find.js",
        """(m, {x, y, strong, polygons}) => polygons.map((polygon) =>
          Array.from(m.within(polygon, Float32Array.from(x), Float32Array.from(y), Uint8Array.from(strong))))""",
        {
            "x": points[:, 0].tolist(),
            "y": points[:, 1].tolist(),
            "strong": strong.astype(int).tolist(),
            "polygons": [polygon.tolist() for polygon in polygons],
        },
    )
    for polygon, rows in zip(polygons, found, strict=True):
        expected = np.flatnonzero(even_odd(polygon, points) & strong)
        assert rows == expected.tolist()
        assert len(rows) > 0


@pytest.mark.slow
def test_layers_hold_each_placed_row_once_and_faint_rows_first(tab: Page, files: str) -> None:
    found = call(
        tab,
        files,
        "parts/scatter/order.js",
        """(m, strong) => {
          const x = Float32Array.from(strong, (_, i) => i % 7 ? i : NaN);
          const {rows, faint, strong: count} = m.layers(m.mixed(strong.length), x, x, Uint8Array.from(strong));
          const {faint: none, strong: all} = m.layers(m.mixed(strong.length), x, x, null);
          return {rows: Array.from(rows), faint, count, none, all};
        }""",
        strong := [int(each) for each in np.random.default_rng(3).random(500) < 0.4],
    )
    placed = [row for row in range(500) if row % 7]
    assert sorted(found["rows"]) == placed
    assert {strong[row] for row in found["rows"][: found["faint"]]} == {0}
    assert {strong[row] for row in found["rows"][found["faint"] :]} == {1}
    assert found["rows"][: found["faint"]] != sorted(found["rows"][: found["faint"]])
    assert (found["none"], found["all"]) == (0, len(placed))


@pytest.mark.slow
def test_pace_follows_the_frames(tab: Page, files: str) -> None:
    slow, fast, paused = call(
        tab,
        files,
        "parts/scatter/look.js",
        """(m) => [60, 16, 5000].map((took) => {
          const pace = new m.Pace();
          for (let i = 0; i < 40; i++) pace.frame(i * took);
          return pace.points;
        })""",
    )
    assert slow == 20_000 < 100_000 == paused < 1_000_000 < fast


@pytest.mark.slow
def test_names_on_the_map_do_not_cover_each_other(tab: Page, files: str) -> None:
    rng = np.random.default_rng(4)
    marks = [
        {"name": f"class {i}", "x": x, "y": y} for i, (x, y) in enumerate(rng.uniform(-450, 450, (120, 2)).tolist())
    ]
    shown = call(
        tab,
        files,
        "parts/scatter/overlay.js",
        "(m, marks) => m.readable(marks, {x: 0, y: 0, scale: 1}, {width: 800, height: 600})",
        marks,
    )
    assert 20 < len(shown) < 120
    assert shown[0]["name"] == next(mark["name"] for mark in marks if abs(mark["x"]) < 370 and abs(mark["y"]) < 282)
    boxes = np.array([[mark["x"], mark["y"]] for mark in shown])
    apart = np.abs(boxes[:, None] - boxes[None])
    close = (apart[..., 0] < 40) & (apart[..., 1] < 15)
    assert close.sum() == len(boxes)


def linear(colours: Floats) -> Floats:
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


@pytest.mark.slow
@pytest.mark.parametrize(("theme", "ground"), [("light", (255, 255, 255)), ("dark", (22, 24, 26))])
def test_colours_of_classes_are_told_apart(tab: Page, files: str, theme: str, ground: tuple[int, int, int]) -> None:
    kinds = call(
        tab,
        files,
        "base/colours.js",
        """(m, theme) => Object.fromEntries(["classes", "many", "scale", "agreement"].map(
          (kind) => [kind, Array.from(m.table(kind, theme))]))""",
        theme,
    )
    tables = {kind: linear(np.array(values, np.float64).reshape(256, 3) / 255) for kind, values in kinds.items()}
    light = np.array([0.2126, 0.7152, 0.0722])
    back = float(linear(np.array(ground) / 255) @ light)

    def contrast(colours: Floats) -> Floats:
        own = colours @ light
        return (np.maximum(own, back) + 0.05) / (np.minimum(own, back) + 0.05)

    classes = tables["classes"][:12]
    assert contrast(classes).min() > 2.2
    assert contrast(tables["many"][:255]).min() > 1.8
    assert contrast(tables["scale"][:255]).min() > 1.8
    assert contrast(tables["agreement"][[0, 1, 255]]).min() > 1.8
    assert contrast(tables["scale"][[0]]) > contrast(tables["scale"][[254]]), "an unsure answer stands out"
    for matrix, least in SEEN.values():
        lab = np.cbrt(np.clip(classes @ matrix.T, 0, 1) @ OKLAB_LMS.T) @ OKLAB.T
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert apart[~np.eye(12, dtype=bool)].min() > least


@pytest.mark.slow
def test_a_class_keeps_its_colour_when_others_come(tab: Page, files: str) -> None:
    few, many, more = call(
        tab,
        files,
        "base/colours.js",
        "(m) => [12, 400, 500].map((count) => m.bytesOf(Array.from({length: count}, (_, i) => `class ${i}`)))",
    )
    assert few == {"kind": "classes", "bytes": list(range(12))}
    assert many["kind"] == "many"
    assert more["bytes"][:400] == many["bytes"]
    assert len(set(many["bytes"])) > 150
    assert max(more["bytes"]) < 255
