"""GET /v1/me and GET /v1/quarantine: what a page has to know of its user, and of what went wrong."""

import httpx
import pytest
from helpers.cells import KEYS, LINES, settings
from helpers.serving import served

from services.classification import create_app
from services.jobs.ingest import ingest
from services.web.access.keys import Role
from store import Item, Quarantined, Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "db")


@pytest.mark.parametrize("role", Role)
def test_a_caller_learns_the_name_and_the_role_of_its_key(store, tmp_path, role):
    with served(create_app(settings(store, tmp_path, keys=LINES))) as url:
        answer = httpx.get(f"{url}/v1/me", headers={"Authorization": f"Bearer {KEYS[role][0]}"})
        assert answer.json() == {"name": role.name, "role": role.name, "keys": True, "jobs": True}
        assert httpx.get(f"{url}/v1/me").status_code == 401


def test_without_keys_everybody_may_do_everything(store, tmp_path):
    with served(create_app(settings(store, tmp_path))) as url:
        assert httpx.get(f"{url}/v1/me").json() == {"name": None, "role": "admin", "keys": False, "jobs": True}


def test_without_a_folder_there_are_no_jobs(store, tmp_path):
    (tmp_path / "jobs").write_text("a file where the folder should be")
    with served(create_app(settings(store, tmp_path))) as url:
        assert httpx.get(f"{url}/v1/me").json()["jobs"] is False


def test_the_quarantine_is_listed_in_pages_without_a_path(store, tmp_path):
    ingest(store, [Item(f"/srv/my photos/{i}.png", b"no picture", []) for i in range(5)])
    store.quarantine.put([Quarantined("a" * 64, "embed:0123456789ab", "truncated", "cut off in /srv/my photos/x.png")])
    with served(create_app(settings(store, tmp_path))) as url:
        whole = httpx.get(f"{url}/v1/quarantine").json()
        assert (whole["count"], len(whole["items"])) == (6, 6)
        names = {each["name"]: (each["stage"], each["reason"]) for each in whole["items"]}
        assert names == {f"{i}.png": ("ingest", "unknown_format") for i in range(5)} | {
            "a" * 64: ("embed:0123456789ab", "truncated")
        }
        assert "/srv" not in str(whole)
        pages = [httpx.get(f"{url}/v1/quarantine", params={"start": i, "limit": 2}).json() for i in (0, 2, 4, 2**40)]
        assert [each for page in pages for each in page["items"]] == whole["items"]
        assert {page["count"] for page in pages} == {6}
        assert httpx.get(f"{url}/v1/quarantine?limit=0").status_code == 422


def test_an_empty_store_has_no_quarantine(store, tmp_path):
    with served(create_app(settings(store, tmp_path))) as url:
        assert httpx.get(f"{url}/v1/quarantine").json() == {"count": 0, "items": []}
