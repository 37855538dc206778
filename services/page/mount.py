"""Serves the files of the page, under a policy that lets a browser run only these files."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES = "page"
"""Path of the files. All URLs in the page are relative: it works behind a proxy that adds a prefix."""

STATIC = Path(__file__).parent / "static"

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob:",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "lit-html",
}
"""Content security policy: no inline script or style, no `eval`, no other origin.

Pictures and sounds are fetched with a key and shown from memory, as `blob:`. Only lit may turn a text into HTML, and
its texts are constants.
"""

HEADERS = {
    "Content-Security-Policy": "; ".join(" ".join(each) for each in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, and asked for again: a new version is seen at once
}


class PageFiles(StaticFiles):
    """The files in `static`, with `HEADERS`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def mount(app: FastAPI) -> None:
    """Add the page and its files to `app`."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    app.mount(f"/{FILES}", PageFiles(directory=STATIC), name=FILES)
