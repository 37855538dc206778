"""The page is served whole, to everybody, under a policy without exceptions; its library is that of the script."""

import re

import httpx
import pytest
from helpers.paths import ROOT

from services.page.mount import STATIC

SCRIPTS = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js"))
OWN = [name for name in SCRIPTS if not name.startswith("vendor/")]


def test_the_classification_service_has_the_page_and_the_embedding_service_has_not(services):
    page = httpx.get(services.classification_url)
    assert "<hw-app>" in page.text
    assert "hw-app" not in httpx.get(services.embedding_url).text
    assert httpx.head(services.classification_url).headers["content-length"] == page.headers["content-length"]


@pytest.mark.parametrize("path", ["", "page/app.js", "page/style.css", "page/nosuch.js"])
def test_the_policy_has_no_exception(services, path):
    headers = httpx.get(f"{services.classification_url}/{path}").headers
    if path != "page/nosuch.js":
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not re.search(r"unsafe|\*|https?:|data:", policy)
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["page/../mount.py", "page/%2e%2e/mount.py", "page//etc/passwd", "page/vendor"])
def test_only_files_of_the_page_are_served(services, path):
    assert httpx.get(f"{services.classification_url}/{path}").status_code == 404


def test_every_module_that_is_imported_is_there_and_nothing_comes_from_elsewhere():
    for name in OWN:
        text = (STATIC / name).read_text()
        for imported in re.findall(r"""(?:from|import) ?\(?["']([^"']+)["']""", text):
            assert (STATIC / name).parent.joinpath(imported).resolve().is_relative_to(STATIC), (name, imported)
            assert ((STATIC / name).parent / imported).exists(), (name, imported)
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
        assert not re.search(r"innerHTML|unsafeHTML|\beval\(|new Function|\bstyle=\"", text), name


def test_every_module_is_used():
    texts = {name: (STATIC / name).read_text() for name in OWN}
    named = {imported.rpartition("/")[2] for text in texts.values() for imported in re.findall(r"[\w-]+\.js", text)}
    assert {name.rpartition("/")[2] for name in SCRIPTS} - {"app.js"} <= named


def test_the_library_has_its_licence_and_is_that_of_the_script():
    pinned = dict(re.findall(r"(lit)@([\d.]+)", (ROOT / "services/page/vendor.sh").read_text()))
    notice = (ROOT / "NOTICE").read_text()
    for name, version in pinned.items():
        assert (STATIC / "vendor" / f"{name}.LICENSE").read_text().strip()
        assert f"{name} {version}" in notice
