"""The page `/docs`: Swagger UI from an installed package, so that it works without internet access; and a plain `/`.

The package `fastapi-swagger` contains the files of Swagger UI. Only these files are used, none of its code is imported.
"""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

ASSETS = "docs/assets"
"""Path of the files of Swagger UI. All URLs in the page are relative: it works behind a proxy that adds a prefix."""

SAFE = {"Content-Security-Policy": "frame-ancestors 'none'"}
"""Headers of a page: no other page may steer clicks into it."""

ROOT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<h1>{title}</h1>
<p>The service is running. <a href="docs">Its endpoints</a>, <a href="health/ready">is it ready?</a></p>
</html>
"""
"""A page that says which service answers."""


def mount_root(app: FastAPI) -> None:
    """Add a page at the address of the service itself that links to `/docs`."""

    @app.get("/", include_in_schema=False)
    async def root() -> HTMLResponse:
        return HTMLResponse(ROOT.format(title=app.title), headers=SAFE)


def mount(app: FastAPI) -> None:
    """Add the page `/docs` and its files to `app`."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
            swagger_ui_parameters={"validatorUrl": None},  # would send the document to a validator on the internet
        )
        page.headers.update(SAFE)
        return page

    app.mount(f"/{ASSETS}", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="docs")
