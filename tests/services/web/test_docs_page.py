"""`/docs` works without internet access: everything that it loads comes from the service itself."""

import re
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from helpers.browser import CHROMIUM, opened

TYPES = {".js": "javascript", ".css": "text/css", ".png": "image/png"}


@pytest.fixture(scope="module", params=["embedding", "classification"])
def page(request, services) -> str:
    return getattr(services, f"{request.param}_url") + "/docs"


def test_all_that_the_page_loads_is_served_by_the_service(page):
    html = httpx.get(page).raise_for_status().text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert {urlsplit(url).path.rpartition(".")[2] for url in loaded} == {"js", "css", "png"}
    for url in loaded:
        assert urlsplit(urljoin(page, url)).netloc == urlsplit(page).netloc
        found = httpx.get(urljoin(page, url)).raise_for_status()
        assert TYPES["." + url.rpartition(".")[2]] in found.headers["content-type"]
        assert len(found.content) > 100
        if url.endswith(".css"):
            assert not re.findall(r"@import|url\((?!\s*[\"']?data:)", found.text)
    assert "http://" not in html
    assert "https://" not in html
    [document] = re.findall(r"url: '([^']+)'", html)
    assert httpx.get(urljoin(page, document)).raise_for_status().json()["openapi"].startswith("3.")


def test_there_is_no_other_page(page):
    assert httpx.get(page.replace("/docs", "/redoc")).status_code == 404
    assert httpx.get(page + "/assets/nosuch.js").json()["error"]["code"] == "not_found"
    assert httpx.get(page + "/assets/../main.py").status_code == 404


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_without_internet_shows_every_endpoint(page, tmp_path):
    html, errors = opened(page, tmp_path)
    shown = set(re.findall(r'data-path="([^"]+)"', html))
    paths = httpx.get(page.replace("/docs", "/openapi.json")).json()["paths"]
    assert shown == set(paths), errors[-2000:]
