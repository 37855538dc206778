"""The page's grid of photos in Chromium: frames while it scrolls, and the time of its larger steps.

    python -m benchmarks.page [--rows 100000] [--headed]

The rows and pictures are made here, so that the page is measured and not the service. Headless Chromium draws with the
processor, so the longest frame has the drawing in it. Needs `playwright` and an installed Chromium.
"""

import argparse
import io
import json
import shutil
import statistics
import threading
import time
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.measure import machine, verdict
from services.page import mount
from services.processes import free_ports

CLASSES = [f"class {i}" for i in range(20)]
BINARY = "application/octet-stream"

SCROLL = """async ([pixels, frames]) => {
  const grid = document.querySelector("hw-grid");
  const times = [];
  let most = 0;
  await new Promise((done) => {
    let last = performance.now();
    const next = (now) => {
      times.push(now - last);
      last = now;
      most = Math.max(most, grid.querySelectorAll(".cell").length);
      if (times.length > frames) return done();
      grid.scrollTop += pixels;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  return [times.slice(2), most];
}"""
"""Scrolls by some pixels in each frame. Returns the milliseconds between frames, and the largest number of cells."""

STEPS = """async () => {
  const { state } = await import("/page/base/state.js");
  const { chosen, EVERYTHING } = await import("/page/base/filter.js");
  const timed = (run) => { const start = performance.now(); run(); return performance.now() - start; };
  const filter = { ...EVERYTHING, show: "disagree" };
  return {
    "filter: label and head differ": timed(() => chosen(state.rows, filter)),
    "order: least sure first": timed(() => chosen(state.rows, { ...EVERYTHING, order: "unsure" })),
    "select all": timed(() => state.change({ selection: new Set(state.shown) })),
    "table of all ids": timed(() => state.rows.row("0".repeat(64))),
  };
}"""


def framed(header: dict[str, Any], contents: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text + contents


def rows(count: int) -> bytes:
    """Return an answer of GET /v1/rows."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 256, (count, 32), np.uint8)
    label = rng.integers(0, len(CLASSES), count).astype(np.int32)
    guess = np.where(rng.random(count) < 0.9, label, rng.integers(0, len(CLASSES), count)).astype(np.int32)
    numbers = {name: rng.random(count, np.float32) for name in ("probability", "margin")}
    columns = {"id": ids, "modality": np.zeros(count, np.uint8), "label": label, "prediction": guess, **numbers}
    listed, contents = [], b""
    for name, values in columns.items():
        size = values.nbytes
        listed.append({"name": name, "dtype": values.dtype.name, "bytes": size, "offset": len(contents)})
        contents += values.tobytes() + bytes(-size % 8)
    header = {"rows": count, "version": "1", "labels": CLASSES, "modalities": ["image"], "columns": listed}
    return framed(header, contents)


def pictures(count: int = 32) -> list[bytes]:
    """Return noisy JPEGs of 256 pixels, which take as long to decode as photos do."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        small = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        file = io.BytesIO()
        small.resize((256, 256), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
        found.append(file.getvalue())
    return found


def app(count: int) -> FastAPI:
    made, shown, served = FastAPI(), pictures(), rows(count)
    names = {"train": count // len(CLASSES), "val": 0, "test": 0, "ood": 0, "none": 0}
    task = {"name": "task", "labelled": count, "many": False, "classes": [{"name": each, **names} for each in CLASSES]}
    overview = {"store": True, "assets": count, "modalities": {"image": count}, "quarantined": 0, "tasks": [task]}
    encoder = {"name": "lite0", "rows": count, "texts": False}
    answers: dict[str, dict[str, Any]] = {
        "/v1/me": {"name": None, "role": "admin", "keys": False, "jobs": True},
        "/v1/overview": {**overview, "encoders": [encoder], "version": "1"},
        "/heads": {"heads": [{"name": "head", "task": "task", "encoders": ["lite0"]}]},
    }

    @made.get("/v1/rows")
    async def columns() -> Response:
        return Response(served, media_type=BINARY)

    @made.post("/v1/thumbnails")
    async def thumbnails(request: Request) -> Response:
        ids = (await request.json())["ids"]
        each = [shown[int(asset[:8], 16) % len(shown)] for asset in ids]
        items = [{"id": i, "type": "image/jpeg", "bytes": len(p)} for i, p in zip(ids, each, strict=True)]
        return Response(framed({"items": items}, b"".join(each)), media_type=BINARY)

    for path, answer in answers.items():
        made.add_api_route(path, lambda answer=answer: JSONResponse(answer))
    mount.mount(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--headed", action="store_true", help="in a window, drawn by the graphics card")
    options = parser.parse_args()
    [port] = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(app(options.rows), host="127.0.0.1", port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    print(machine())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), headless=not options.headed)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        start = time.perf_counter()
        tab.goto(f"http://127.0.0.1:{port}")
        tab.wait_for_selector(".cell img:not([hidden])")
        print(f"{options.rows:,} rows; first photos after {time.perf_counter() - start:.2f} s")
        for name, pixels in (("slowly", 20), ("quickly", 150), ("by the scroll bar", 5000)):
            times, cells = tab.evaluate(SCROLL, [pixels, 300])
            frames = sorted(times)
            at_99 = frames[int(0.99 * len(frames))]
            print(
                f"  {name}, {pixels} pixels a frame: median {statistics.median(frames):.1f} ms, {cells} cells at most"
            )
            print(
                "  " + verdict("99 of 100 frames", at_99, 34, "ms", at_least=False) + f", longest {frames[-1]:.0f} ms"
            )
        for name, milliseconds in tab.evaluate(STEPS).items():
            print(f"  {name}: {milliseconds:.0f} ms")
        browser.close()
    server.should_exit = True


if __name__ == "__main__":
    main()
