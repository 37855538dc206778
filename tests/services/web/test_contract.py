"""Both services do what their OpenAPI documents say.

Schemathesis sends what a document allows and what it forbids, and checks each answer against the document: no fault,
only documented statuses, codes, headers and bodies, nothing valid refused, nothing invalid accepted.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from helpers.jobs import lasting
from helpers.sounds import sound

from classifiers.published.registry import Registry
from services.jobs.ingest import to_asset
from services.jobs.recorded import Asked, Jobs
from services.processes import Running, free_ports, running
from services.settings import Settings
from services.web.access.keys import Role, make
from store import Label, Store, asset_id

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[3] / "docs"
HOOKS = Path(__file__).parents[2] / "helpers" / "contract_hooks.py"
SERVICES = ["embedding", "classification"]
SEEDS, EXAMPLES, SECONDS = range(20, 24), 60, "120"
"""The first seed is for all endpoints, each further one for those that answered no request with success so far."""

SECRET, KEY = make("contract", Role.admin)
SOUND = sound(1)


@pytest.fixture(scope="module")
def own(home, tmp_path_factory) -> Settings:
    """Settings of a copy of the store and the heads: the requests change both."""
    folder = tmp_path_factory.mktemp("contract") / "home"
    shutil.copytree(Path(home.settings.store).parent, folder)
    Store.open(folder / "headwater.db").assets.add([to_asset(SOUND, "tone.wav")])
    update = {"store": str(folder / "headwater.db"), "heads": folder / "heads", "log_level": "ERROR"}
    jobs = {"jobs": folder / "jobs", "max_job_queue": 1000, "max_finished_jobs": 10_000}
    return home.settings.model_copy(update=update | jobs)


@pytest.fixture(scope="module")
def jobs(own) -> dict[str, list[str]]:
    """Jobs that go on until they are cancelled, and one that has ended and made a file."""
    jobs, folder = Jobs(own.jobs), own.heads.parent / "photos"
    folder.mkdir()
    with jobs.locked():
        report = jobs.add(lambda _: Asked("compare", {}, [], own.store, str(own.heads)))
    (report.folder / "files" / "a").mkdir(parents=True)
    (report.folder / "files" / "a" / "report.html").write_text("<p>a</p>")
    jobs.end(report, "done")
    return {"job": [lasting(jobs, own, folder).id for _ in range(5)], "ended_job": [report.id]}


@pytest.fixture(scope="module", params=["without keys", "with keys"])
def services(request, own, jobs) -> Iterator[tuple[Running, dict[str, str]]]:
    """Both services, and the headers of an admin."""
    keys = (KEY.line,) if request.param == "with keys" else ()
    ports = dict(zip(("embedding_port", "classification_port"), free_ports(2), strict=True))
    with running(own.model_copy(update={"keys": keys, **ports})) as started:
        yield started, {"Authorization": f"Bearer {SECRET}"} if keys else {}


def fresh_task(home, own, name: str) -> str:
    """Label the photos in a task that no request knows yet: those of before have labels from requests by now."""
    task = f"{name} {uuid4().hex}"
    rows = [Label(asset_id(cell.path.read_bytes()), [cell.label], cell.split) for cell in home.cells]
    Store.open(own.store).labels.put(task, rows)
    return task


def real(home, own, jobs) -> dict[str, list[str]]:
    """Return what the services know, by the name of a parameter or field."""
    heads = Registry(own.heads)
    return {
        **jobs,
        "encoder": ["lite0"],
        "model": ["lite0"],
        "head": heads.names(),
        "name": heads.names(),
        "version": [version for name in heads.names() for version in heads.versions(name)],
        "learned": [fresh_task(home, own, "learned")],
        "undone": [fresh_task(home, own, "undone")],
        "id": home.store.assets.ids().to_pylist()[:5],
        "ids": home.store.assets.ids().to_pylist()[:5],
        "sound": [asset_id(SOUND)],
    }


def successes(url: str, headers: dict[str, str]) -> Counter[str]:
    """Return how many requests each endpoint answered with success, by the metrics of the service."""
    text = httpx.get(f"{url}/metrics", headers=headers).raise_for_status().text
    pattern = r'^headwater_requests_total\{method="(\w+)",route="([^"]+)",status="2\d\d"\} (\S+)$'
    counted = Counter()
    for method, route, count in re.findall(pattern, text, re.M):
        counted[f"{method} {route.replace(':path', '')}"] += int(float(count))
    return counted


@pytest.mark.parametrize("name", SERVICES)
def test_no_request_shows_a_difference_to_the_document(services, home, own, jobs, name, tmp_path):
    started, headers = services
    url = getattr(started, f"{name}_url")
    document = httpx.get(f"{url}/openapi.json").json() if headers else json.loads(read(name))
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(f"hooks = {json.dumps(str(HOOKS))}\n")
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run", "openapi.json", "--url", url]
    command += ["--checks", "all", "--mode", "all", "--max-examples", str(EXAMPLES)]
    command += ["--continue-on-failure", "--no-shrink", "--generation-database", "none"]
    command += ["--request-timeout", SECONDS, "--max-response-time", SECONDS]
    command += [part for pair in headers.items() for part in ("--header", ": ".join(pair))]
    environment = os.environ | {"REAL": json.dumps(real(home, own, jobs))}
    endpoints = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    missing: set[str] = set()
    for seed in SEEDS:
        chosen = [part for endpoint in sorted(missing) for part in ("--include-name", endpoint)]
        search = [*command, "--seed", str(seed), *chosen]
        done = subprocess.run(search, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout)
        assert done.returncode == 0, done.stdout + done.stderr
        counted = successes(url, headers)
        print({endpoint: counted[endpoint] for endpoint in sorted(endpoints, key=lambda each: counted[each])})
        missing = {endpoint for endpoint in endpoints if not counted[endpoint]}
        if not missing:
            break
    assert not missing


def read(name: str) -> str:
    return (DOCS / f"openapi-{name}.json").read_text(encoding="utf-8")
