"""Frame times of the map in a browser while it moves.

    python -m benchmarks.page_map                    # 100,000 and 1,000,000 points, with the software renderer
    python -m benchmarks.page_map --points 2000000 --seconds 10
    python -m benchmarks.page_map --hardware         # with the graphics card, if there is one

The page's files are served without a service; the points are blobs made here. A script in the page pans and zooms once
a frame, as a hand does, and notes the time between frames. The browser asks for a frame when the one before is drawn,
so the time between two of them includes the renderer. The first third is left out: in it, the map finds out how many
points it can draw in a frame.
"""

import argparse
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Page, sync_playwright

from benchmarks.measure import machine, verdict
from services.page import mount
from services.processes import free_ports

LEAST_FRAMES = 30.0
POINTS = 100_000
"""The number of points for which `LEAST_FRAMES` is promised."""

SOFTWARE = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")

FILL = """async ({points}) => {
  await import("/page/parts/scatter.js");
  const { table } = await import("/page/base/colours.js");
  document.body.replaceChildren();
  const map = document.createElement("hw-scatter");
  document.body.append(map);
  let seed = 7;
  const uniform = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const [x, y, codes] = [new Float32Array(points), new Float32Array(points), new Uint8Array(points)];
  for (let i = 0; i < points; i++) {
    codes[i] = Math.floor(10 * uniform());
    x[i] = 3 * Math.cos(codes[i]) + normal();
    y[i] = 3 * Math.sin(codes[i] * 1.7) + normal();
  }
  const start = performance.now();
  Object.assign(map, { x, y, codes, colours: table("classes", "light") });
  await map.updateComplete;
  await new Promise(requestAnimationFrame);
  const gl = map.renderer.gl;
  const pixel = new Uint8Array(4);
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel); // waits until all is drawn
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "unknown";
  return { renderer, first: performance.now() - start };
}"""

MOVE = """async ({seconds, left_out}) => {
  const map = document.querySelector("hw-scatter");
  const canvas = map.querySelector("canvas");
  const send = (name, i) => canvas.dispatchEvent(new PointerEvent(name, {
    pointerId: 1, clientX: 600 + 150 * Math.sin(i / 20), clientY: 400 + 100 * Math.cos(i / 31) }));
  const turn = (i) => canvas.dispatchEvent(new WheelEvent("wheel", {
    deltaY: 40 * Math.sin(i / 25), clientX: 640, clientY: 400 }));
  canvas.setPointerCapture = () => {};
  const frame = () => new Promise(requestAnimationFrame);
  const between = () => new Promise((done) => setTimeout(done)); // a hand's events come between frames
  const times = [];
  send("pointerdown", 0);
  const start = await frame();
  for (let i = 1, before = start; before - start < 1000 * seconds; i++) {
    send("pointermove", i);
    if (i % 3 === 0) turn(i);
    const now = await frame();
    await between();
    if (before - start > 1000 * left_out) times.push(now - before);
    before = now;
  }
  send("pointerup", 0);
  const rest = performance.now();
  while (map.drawn < 1) await frame();
  map.renderer.gl.readPixels(0, 0, 1, 1, map.renderer.gl.RGBA, map.renderer.gl.UNSIGNED_BYTE, new Uint8Array(4));
  return { times, drawn: Math.min(map.x.length, Math.round(map.pace.points)), rest: performance.now() - rest };
}"""

PICK = """() => {
  const map = document.querySelector("hw-scatter");
  const start = performance.now();
  for (let i = 0; i < 20; i++) map.at(300 + 20 * i, 400);
  return (performance.now() - start) / 20;
}"""


@contextmanager
def page() -> Iterator[str]:
    """Serve the page's files during the block, and yield their URL."""
    app = FastAPI()
    mount.mount(app)
    [port] = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


class Moved(NamedTuple):
    """Frame times in ms while the map moved; points drawn in the last frame; ms until all points were drawn at rest."""

    times: list[float]
    drawn: int
    rest: float


def measured(tab: Page, points: int, seconds: float) -> float:
    """Print the frame times with `points` points, and return the frames per second by the median."""
    filled = tab.evaluate(FILL, {"points": points})
    moved = Moved(**tab.evaluate(MOVE, {"seconds": seconds, "left_out": seconds / 3}))
    median, worst = statistics.median(moved.times), max(moved.times)
    print(
        f"{points:>9,} points: {1000 / median:5.1f} frames/s  median {median:5.1f} ms  "
        f"95 % {statistics.quantiles(moved.times, n=20)[-1]:5.1f} ms  worst {worst:6.1f} ms  "
        f"{moved.drawn:,} points a frame while moving | first picture {filled['first']:.0f} ms  "
        f"all points drawn {moved.rest:.0f} ms  finding a point {tab.evaluate(PICK):.2f} ms  ({filled['renderer']})"
    )
    return 1000 / median


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="*", default=[POINTS, 1_000_000])
    parser.add_argument(
        "--seconds", type=float, default=9.0, help="how long the map moves; the first third is left out"
    )
    parser.add_argument(
        "--hardware", action="store_true", help="use the graphics card instead of the software renderer"
    )
    options = parser.parse_args(argv)
    print(machine())
    with page() as url, sync_playwright() as playwright:
        flags = () if options.hardware else SOFTWARE
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(url)
        frames = {points: measured(tab, points, options.seconds) for points in options.points}
        browser.close()
    if POINTS in frames:
        print(verdict(f"{POINTS:,} points", frames[POINTS], LEAST_FRAMES, "frames/s", at_least=True))


if __name__ == "__main__":
    main()
