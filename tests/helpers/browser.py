"""Chromium without internet access, and pages of another origin on which it runs a script."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from helpers.serving import answering

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


def opened(url: str, profile: Path, *, rules: str = OFFLINE) -> tuple[str, str]:
    """Return the page at `url` as HTML after its scripts have run, and what Chromium wrote to standard error."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    command = [CHROMIUM, *options, f"--user-data-dir={profile}", rules, "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


SCRIPT = """<!doctype html><meta charset="utf-8"><pre id="log"></pre><script type="module">
const log = (text) => { document.getElementById("log").append(text + "\\n"); };
const attempt = async (name, run) => {
  try { log(name + ": " + await run()); } catch (error) { log(name + ": " + error); }
};
const read = async (url, options) => {
  const answer = await fetch(url, options);
  return answer.type === "opaque" ? "sent, answer hidden" : answer.status + " " + await answer.text();
};
const file = (seed) => new File([Uint8Array.from(atob(PHOTOS[seed]), (c) => c.charCodeAt(0))], seed + ".png");
const form = (seed) => { const data = new FormData(); data.append("files", file(seed)); return data; };
const submit = (url, seed) => new Promise((resolve) => {
  const frame = Object.assign(document.createElement("iframe"), { name: "frame" + seed });
  const sent = Object.assign(document.createElement("form"), {
    action: url, method: "post", enctype: "multipart/form-data", target: frame.name });
  const input = Object.assign(document.createElement("input"), { type: "file", name: "files" });
  const files = new DataTransfer();
  files.items.add(file(seed));
  input.files = files.files;
  sent.append(input);
  document.body.append(frame, sent);
  frame.onload = () => resolve("sent, answer hidden");
  sent.submit();
});
const json = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
"""
"""What the scripts of the pages can call. `PHOTOS` has files as base64."""


@contextmanager
def page(script: str, photos: list[str], port: int = 0) -> Iterator[str]:
    """Serve a page that runs `script`, calls of ``await attempt(name, run)``, on a port of its own. Yield its URL."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"{SCRIPT}const PHOTOS = {photos};\n{script}</script>".encode())

        def log_message(self, *_: object) -> None:
            pass

    with answering(Page, port) as url:
        yield f"{url}/"


def transcript(url: str, profile: Path, *, rules: str = OFFLINE) -> dict[str, str]:
    """Open a `page` in Chromium and return the result of every attempt by its name."""
    html, errors = opened(url, profile, rules=rules)
    found = re.search(r'<pre id="log">(.*?)</pre>', html, re.DOTALL)
    assert found is not None, errors[-2000:]
    return dict(line.split(": ", 1) for line in unescape(found[1]).splitlines() if line)
