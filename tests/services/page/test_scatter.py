"""The element that draws points: what is drawn where, and what pointers, fingers and keys do."""

import numpy as np
import pytest
from helpers.charts import BLUE, CENTRES, GREEN, RED, Floats, blobs, call, chart, colours, drag, even_odd
from playwright.sync_api import Browser, Page, expect

WIDTH = 1280
"""Width of the tab in pixels."""


def test_clusters_are_drawn_in_their_places_and_colours(tab: Page, files: str) -> None:
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    picture = map_.picture()
    for centre, colour in zip(CENTRES, (RED, GREEN, BLUE), strict=True):
        np.testing.assert_allclose(map_.near(picture, centre), colour, atol=25)
    np.testing.assert_array_equal(map_.near(picture, np.array([0.0, 1.0])), [255, 255, 255])


@pytest.mark.slow
def test_clusters_move_with_the_camera_and_change_with_the_colours(tab: Page, files: str) -> None:
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    before = map_.place(CENTRES[1])
    tab.mouse.move(*before)
    tab.mouse.wheel(0, -300)
    map_.drawn()
    np.testing.assert_allclose(map_.place(CENTRES[1]), before, atol=1.0)  # what is under the pointer stays
    assert map_.get("map.camera.scale / map.home.scale") == pytest.approx(np.exp(0.0016 * 300))
    np.testing.assert_allclose(map_.near(map_.picture(), CENTRES[1]), GREEN, atol=25)

    tab.mouse.down()
    tab.mouse.move(before[0] - 300, before[1] + 50, steps=4)
    tab.mouse.up()
    map_.drawn()
    np.testing.assert_allclose(map_.place(CENTRES[1]), (before[0] - 300, before[1] + 50), atol=1.0)
    np.testing.assert_allclose(map_.near(map_.picture(), CENTRES[1]), GREEN, atol=25)

    map_.canvas.focus()
    tab.keyboard.press("0")
    map_.set(codes=(2 - codes).tolist())
    np.testing.assert_allclose(map_.near(map_.picture(), CENTRES[2]), RED, atol=25)
    map_.set(colours=colours(BLUE))
    np.testing.assert_allclose(map_.near(map_.picture(), CENTRES[2]), BLUE, atol=25)


@pytest.mark.slow
def test_a_point_without_a_place_is_not_drawn_and_a_faint_one_is_pale(tab: Page, files: str) -> None:
    points, codes = blobs()
    points[codes == 0] = np.nan
    map_ = chart(tab, files, points, codes)
    reds = map_.picture().astype(int)
    assert ((reds[..., 0] > 150) & (reds[..., 1] < 90)).sum() == 0

    map_.set(strong=(codes == 2).astype(int).tolist())
    picture = map_.picture()
    np.testing.assert_allclose(map_.near(picture, CENTRES[2]), BLUE, atol=25)
    green = map_.near(picture, CENTRES[1])
    assert green.max() - green.min() < 60, "almost grey"
    assert (green < 250).all(), "but to be seen"


@pytest.mark.slow
def test_strong_points_are_above_faint_ones_in_every_part_that_is_drawn(tab: Page, files: str) -> None:
    rng = np.random.default_rng(6)
    points = rng.normal(0, 1, (20_000, 2))
    points[:300] = rng.normal(0, 0.05, (300, 2))
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    tab.evaluate("document.querySelector('hw-scatter').pace.frame = function () { this.points = 2000; }")
    map_.set(strong=[1] * 300 + [0] * (len(points) - 300))
    np.testing.assert_allclose(map_.near(map_.picture(), np.zeros(2), 4), RED, atol=40)


@pytest.mark.slow
def test_a_change_of_colours_sends_one_byte_a_point(tab: Page, files: str) -> None:
    points, codes = blobs(1000)
    map_ = chart(tab, files, points, codes)
    tab.evaluate("""() => {
      window.sent = [];
      const send = WebGL2RenderingContext.prototype.bufferData;
      WebGL2RenderingContext.prototype.bufferData = function (target, data, usage) {
        sent.push(data.byteLength);
        send.call(this, target, data, usage);
      };
    }""")
    map_.set(codes=codes[::-1].tolist())
    assert tab.evaluate("sent.splice(0)") == [1000]
    map_.set(colours=colours(BLUE))
    assert tab.evaluate("sent.splice(0)") == []
    map_.set(strong=(codes == 0).astype(int).tolist())
    assert tab.evaluate("sent.splice(0)") == [4000]


def sparse(count: int = 60) -> Floats:
    """Return points that are far enough from each other to be hit alone."""
    rng = np.random.default_rng(7)
    grid = np.stack(np.meshgrid(np.arange(10), np.arange(count // 10)), -1).reshape(-1, 2)
    return rng.permutation(grid + rng.uniform(-0.3, 0.3, (count, 2)))


@pytest.mark.slow
def test_a_click_picks_the_point_below_it(tab: Page, files: str) -> None:
    points = sparse()
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    map_.events()
    for row in (0, 17, 42):
        tab.mouse.click(*map_.place(points[row]))
    tab.mouse.click(3, 3)
    assert [each["row"] for each in map_.events() if each["name"] == "pick"] == [0, 17, 42]


@pytest.mark.slow
def test_a_strong_point_is_picked_before_a_faint_one(tab: Page, files: str) -> None:
    map_ = chart(tab, files, np.array([[0.0, 0.0], [0.001, 0.0], [1.0, 1.0], [-1, -1]]), np.zeros(4, np.int64))
    map_.set(strong=[0, 1, 1, 0])
    map_.events()
    tab.mouse.click(*map_.place(np.zeros(2)))
    tab.mouse.click(*map_.place(np.array([-1.0, -1.0])))
    assert [each["row"] for each in map_.events() if each["name"] == "pick"] == [1, 3]


@pytest.mark.slow
def test_the_pointer_at_rest_finds_a_point_once(tab: Page, files: str) -> None:
    points = sparse()
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    map_.events()
    tab.mouse.move(*map_.place(points[5]))
    tab.wait_for_function("() => window.events.some(({row}) => row === 5)")
    expect(tab.locator("circle.spot")).to_have_count(1)
    tab.mouse.move(3, 3)
    expect(tab.locator("circle.spot")).to_have_count(0)
    assert [each["row"] for each in map_.events() if each["name"] == "hover" and each["row"] != -1] == [5]


@pytest.mark.slow
def test_a_lasso_finds_exactly_the_points_inside(tab: Page, files: str) -> None:
    rng = np.random.default_rng(8)
    points = rng.uniform(-1, 1, (3000, 2)).astype(np.float32).astype(np.float64)
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    map_.events()
    tab.get_by_role("button", name="Lasso").click()
    path = [(400.0, 250.0), (900.0, 200.0), (650.0, 420.0), (880.0, 600.0), (420.0, 560.0)]
    drag(tab, path)
    [lasso] = [each for each in map_.events() if each["name"] == "lasso"]
    drawn = np.array(map_.get("map.selection"))
    corners = np.array([map_.plane(*corner) for corner in path])
    assert np.abs(drawn[:, None] - corners[None]).sum(-1).min(0).max() < 8 / map_.get("map.camera.scale")
    assert lasso["rows"] == np.flatnonzero(even_odd(drawn, points)).tolist()
    assert 200 < len(lasso["rows"]) < 2000
    expect(tab.get_by_role("button", name="Lasso")).to_have_attribute("aria-pressed", "false")

    map_.canvas.focus()
    tab.keyboard.press("Escape")
    assert map_.get("map.selection") is None
    assert [each["rows"] for each in map_.events() if each["name"] == "lasso"] == [None]


@pytest.mark.slow
def test_a_rectangle_with_shift_selects_among_the_strong_points(tab: Page, files: str) -> None:
    rng = np.random.default_rng(9)
    points = rng.uniform(-1, 1, (2000, 2)).astype(np.float32).astype(np.float64)
    strong = rng.random(len(points)) < 0.5
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    map_.set(strong=strong.astype(int).tolist())
    map_.events()
    camera = map_.get("map.camera")
    tab.keyboard.down("Shift")
    drag(tab, [(500.0, 250.0), (800.0, 480.0)])
    tab.keyboard.up("Shift")
    [lasso] = [each for each in map_.events() if each["name"] == "lasso"]
    (left, top), (right, bottom) = map_.plane(500, 250), map_.plane(800, 480)
    inside = (points[:, 0] > left) & (points[:, 0] < right) & (points[:, 1] > bottom) & (points[:, 1] < top)
    assert lasso["rows"] == np.flatnonzero(inside & strong).tolist() != []
    assert map_.get("map.camera") == camera, "a selection does not move the map"


@pytest.mark.slow
def test_keys_move_zoom_reset_and_open(tab: Page, files: str) -> None:
    points = sparse()
    map_ = chart(tab, files, points, np.zeros(len(points), np.int64))
    home = map_.get("map.camera")
    map_.canvas.focus()
    seen = {}
    for key in ("ArrowRight", "ArrowUp", "+", "-", "ArrowLeft", "ArrowDown"):
        tab.keyboard.press(key)
        seen[key] = map_.get("map.camera")
    assert seen["ArrowRight"]["x"] == pytest.approx(home["x"] + 0.12 * WIDTH / home["scale"])
    assert seen["ArrowUp"]["y"] > home["y"]
    assert seen["ArrowUp"]["x"] == seen["ArrowRight"]["x"]
    assert seen["+"]["scale"] == pytest.approx(1.4 * home["scale"])
    assert seen["ArrowDown"] == pytest.approx(home)
    tab.keyboard.press("+")
    tab.keyboard.press("0")
    assert map_.get("map.camera") == pytest.approx(home)
    for _ in range(60):
        tab.keyboard.press("+")
    assert map_.get("map.camera.scale") == pytest.approx(2000 * home["scale"])
    tab.keyboard.press("0")
    map_.events()
    tab.keyboard.press("Enter")
    distances = np.linalg.norm(points - (home["x"], home["y"]), axis=1)
    assert [each["row"] for each in map_.events() if each["name"] == "pick"] == [int(distances.argmin())]


@pytest.mark.slow
def test_two_fingers_zoom_and_one_pans(browser: Browser, files: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 700}, has_touch=True, device_scale_factor=2)
    tab = context.new_page()
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    assert map_.get("[map.canvas.width, map.canvas.height]") == [780, 1400]
    session = context.new_cdp_session(tab)

    def touch(kind: str, *fingers: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    before = map_.place(CENTRES[2])
    touch("touchStart", (200, 300))
    touch("touchMove", (215, 300))
    touch("touchMove", (240, 330))
    touch("touchEnd")
    np.testing.assert_allclose(map_.place(CENTRES[2]), np.add(before, (40, 30)), atol=1.5)

    scale, held = map_.get("map.camera.scale"), map_.plane(150, 300)
    touch("touchStart", (150, 300))
    touch("touchStart", (150, 300), (250, 300))
    touch("touchMove", (150, 300), (300, 300))
    touch("touchMove", (150, 300), (350, 300))
    touch("touchEnd")
    assert map_.get("map.camera.scale") == pytest.approx(2 * scale, rel=0.01)
    np.testing.assert_allclose(map_.plane(150, 300), held, atol=3 / scale)
    context.close()


@pytest.mark.slow
def test_the_map_follows_the_size_of_the_window(tab: Page, files: str) -> None:
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    tab.set_viewport_size({"width": 700, "height": 500})
    tab.wait_for_function("() => document.querySelector('hw-scatter canvas').width === 700")
    map_.drawn()
    assert map_.get("map.canvas.height") == 500
    picture = map_.picture()
    for centre, colour in zip(CENTRES, (RED, GREEN, BLUE), strict=True):
        np.testing.assert_allclose(map_.near(picture, centre), colour, atol=25)


@pytest.mark.slow
def test_the_map_comes_back_after_its_context_was_lost(tab: Page, files: str) -> None:
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    before = map_.picture()
    tab.evaluate(
        """() => {
          window.lose = document.querySelector("hw-scatter").renderer.gl.getExtension("WEBGL_lose_context");
          lose.loseContext();
        }"""
    )
    expect(tab.get_by_role("alert")).to_contain_text("comes back by itself")
    assert (map_.picture() != before).any()
    tab.evaluate("lose.restoreContext()")
    expect(tab.get_by_role("alert")).to_have_count(0)
    map_.drawn()
    np.testing.assert_array_equal(map_.picture(), before)


@pytest.mark.slow
def test_without_webgl_the_page_says_so(tab: Page, files: str) -> None:
    tab.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    call(
        tab,
        files,
        "parts/scatter.js",
        """() => {
          const map = document.createElement("hw-scatter");
          Object.assign(map, {x: new Float32Array(1), y: new Float32Array(1)});
          document.body.replaceChildren(map);
        }""",
    )
    expect(tab.get_by_role("alert")).to_contain_text("has no WebGL 2. Turn on hardware acceleration")


@pytest.mark.slow
def test_dropped_photos_are_rings_with_names_at_their_places(tab: Page, files: str) -> None:
    points, codes = blobs()
    map_ = chart(tab, files, points, codes)
    map_.set(extra=[{"x": 1.0, "y": 1.0, "name": "<b>mine.jpg</b>"}])
    expect(tab.locator("svg .extra text")).to_have_text("<b>mine.jpg</b>")
    box = tab.locator("svg .extra circle").last.bounding_box()
    assert box is not None
    np.testing.assert_allclose(
        (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), map_.place(np.ones(2)), atol=1.0
    )
