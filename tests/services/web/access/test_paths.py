"""Answers for the roles read and write have no path of the server; those for admin have."""

import json
import time
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from services import classification, embedding
from services.jobs.recorded import Asked, Jobs
from services.settings import Settings
from services.web.access.keys import Role, make
from services.web.access.paths import bare_readiness, hiding
from services.web.access.roles import endpoint_of

MADE = {role.name: make(role.name, role) for role in Role}
LINES = tuple(key.line for _, key in MADE.values())
MISSING = "openclip/ViT-B-32@/srv/no such folder/weights.pt"


@pytest.fixture(scope="module")
def exposed(home, tmp_path_factory):
    """The settings of services whose answers are full of paths: a damaged head, a lost encoder, a failed backfill."""
    folder = tmp_path_factory.mktemp("my heads")
    for name, content in (("good", home.settings.heads / "gaussian"), ("bad", home.settings.heads / "linear")):
        (folder / name).mkdir()
        [version] = [each for each in content.iterdir() if each.is_dir()]
        (folder / name / version.name).symlink_to(version)
    [version] = (folder / "bad").iterdir()
    version.unlink()
    version.mkdir()
    return home.settings.model_copy(
        update={"heads": folder, "keys": LINES, "encoders": (MISSING,), "embedding_port": 1, "jobs": folder / "jobs"}
    )


def answers(service: ModuleType, settings: Settings, role: str, home) -> dict[str, str]:
    """The answer to every GET that the role may send, and to some that fail, as text."""
    app = service.create_app(settings)
    [known] = home.store.missing("0" * 64)[:1]
    if service is embedding:
        job = app.state.service.backfills.start("lite0", lambda _: _fail(settings)).id
        urls = [
            "/v1/encoders",
            "/v1/models",
            "/v1/models/none",
            "/v1/backfills",
            f"/v1/backfills/{job}",
            "/v1/backfills/none",
        ]
    else:
        urls = [
            "/heads",
            "/heads/good",
            "/heads/bad",
            "/heads/none",
            "/heads/good/report",
            "/classify",
            f"/search?encoder=lite0&id={known}",
        ]
        urls += ["/search?encoder=none&id=x", "/search?encoder=lite0&text=a", "/health/ready?needs=media&needs=ids"]
        versions = f"/versions/{app.state.service.registry.versions('good')[0]}"
        urls += ["/v1/overview", "/v1/rows?head=good", "/v1/rows?encoder=none"]
        urls += ["/v1/learn", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/bad"]
        job = _job(settings, home)
        urls += ["/v1/jobs", *(f"/v1/jobs/{id_}{each}" for id_ in (job, "none") for each in ("", "/events", "/result"))]
        urls += ["/v1/me", "/v1/quarantine"]
        urls += [f"/v1/assets/{id_}{each}" for id_ in (known, "none") for each in ("", "/thumbnail", "/sound")]
        urls += [f"/v2/models/good{version}{each}" for version in ("", versions) for each in ("", "/ready")]
    urls += [f"/v1/labels?task={next(iter(home.store.labels.tasks()))}", f"/v1/labels/history?id={known}"]
    urls += ["/", "/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/nothing"]
    headers = {"Authorization": f"Bearer {MADE[role][0]}"} if role else {}
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as http:
        while service is embedding and not any(held.failure for held in app.state.service.encoders.all()):
            time.sleep(0.01)
        return {url: http.get(url, headers=headers).text for url in urls}


def _job(settings: Settings, home) -> str:
    """Return the id of a job that failed, whose request, log and error are full of paths."""
    jobs, path = Jobs(settings.jobs), f"{home.cells[0].path.parent}"
    request = {"kind": "ingest", "folder": path, "labels_file": f"{path}/a.csv"}
    with jobs.locked():
        job = jobs.add(lambda _: Asked("ingest", request, ["ingest", path], settings.store, str(settings.heads)))
    (job.folder / "log.txt").write_text(f"error: {path}/x.png is broken\nTraceback: {settings.heads}/y\n")
    return jobs.end(job, "failed", error=f"{path} does not exist").id


def _fail(settings: Settings):
    raise OSError(28, "No space left on device", f"{settings.store}/assets.lance/data")


def paths_of(settings: Settings, home) -> list[str]:
    uris = [home.cells[0].path.parent]
    roots = [settings.store, settings.heads, settings.heads.parent, settings.cache, *uris]
    return [json.dumps(str(each), ensure_ascii=False)[1:-1] for each in roots]


@pytest.mark.parametrize("role", ["", "read", "write"])
@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_no_answer_has_a_path_of_the_server(exposed, home, service, role):
    found = answers(service, exposed, role, home)
    for url, text in found.items():
        assert not [path for path in paths_of(exposed, home) if path in text], url
        assert "/srv/" not in text, url
    asked = {endpoint_of("GET", url.partition("?")[0]) for url in found}
    paths = service.create_app(exposed).openapi()["paths"]
    assert {f"GET {path}" for path, methods in paths.items() if "get" in methods} <= asked


@pytest.mark.parametrize("service", [embedding, classification], ids=["embedding", "classification"])
def test_an_admin_sees_the_paths(exposed, home, service):
    """So the scan above finds nothing because it was hidden, and not because it was never there."""
    found = answers(service, exposed, "admin", home)
    told = {url for url, text in found.items() if any(path in text for path in [*paths_of(exposed, home), "/srv/"])}
    if service is embedding:
        assert {url.partition("s/")[0] for url in told} >= {"/health/ready", "/v1/backfill"}
    else:
        assert {"/heads", "/heads/bad", "/health/ready"} <= told
        assert any(url.startswith("/search?encoder=lite0&id=") for url in told)


def test_a_reader_still_learns_which_file_and_why(exposed, home):
    found = answers(classification, exposed, "read", home)
    assert "manifest.json is missing" in json.loads(found["/heads"])["refused"]["bad"]
    [url] = [url for url in found if url.startswith("/search?encoder=lite0&id=")]
    uris = [hit["uri"] for hit in json.loads(found[url])["hits"]]
    assert uris
    assert all(uri.startswith("…/cell") and uri.endswith(".png") for uri in uris)


def test_readiness_without_a_key_has_only_states(exposed, home):
    found = answers(classification, exposed, "", home)
    assert json.loads(found["/health/ready"]) == {
        "ready": True,
        **{name: {"ready": name != "media"} for name in ("heads", "vectors", "ids", "media")},
    }
    assert json.loads(answers(embedding, exposed, "", home)["/health/ready"]) == {"ready": False}


HIDE = hiding(Settings(store="/srv/my data/head.db", heads="/heads"))


def shown(document: object) -> object:
    return json.loads(HIDE(json.dumps(document, ensure_ascii=False).encode()))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("no head in /data/heads yet; train one", "no head in …/heads yet; train one"),
        ("[Errno 28] No space left on device: '/data/a/b.lance'", "[Errno 28] No space left on device: '…/b.lance'"),
        ("store: /srv/my data/head.db", "store: …/head.db"),
        ("/heads/cells/v1: damaged", "…/v1: damaged"),
        ("file:///data/x.npy", "…/x.npy"),
        ("lite@/data/weights.pt", "lite@…/weights.pt"),
        (
            "the service at http://10.0.0.5:8000/v1 does not answer",
            "the service at http://10.0.0.5:8000/v1 does not answer",
        ),
        (
            "send image/jpeg or image/png; 1/2 and/or s3://bucket/key",
            "send image/jpeg or image/png; 1/2 and/or s3://bucket/key",
        ),
        ("no path at all", "no path at all"),
    ],
)
def test_the_last_part_of_a_path_is_left(text, left):
    assert shown({"error": {"code": "x", "message": text}}) == {"error": {"code": "x", "message": left}}
    assert shown({"heads": {"ready": False, "reason": text}}) == {"heads": {"ready": False, "reason": left}}
    assert shown({"refused": {"a": text}}) == {"refused": {"a": left}}


@pytest.mark.parametrize(
    ("uri", "left"),
    [
        ('/data/my photos/a "b".jpg', '…/a "b".jpg'),
        ("file:///data/a.jpg", "…/a.jpg"),
        ("photos/a.jpg", "…/a.jpg"),
        ("s3://bucket/a.jpg", "s3://bucket/a.jpg"),
        ("a.jpg", "a.jpg"),
        (None, None),
    ],
)
def test_the_uri_of_an_asset_keeps_its_name(uri, left):
    assert shown({"hits": [{"id": "1/2", "uri": uri}]}) == {"hits": [{"id": "1/2", "uri": left}]}


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
names = st.text().filter(lambda name: name not in {"message", "reason", "failure", "error", "refused", "uri"})
documents = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner))


@given(documents)
def test_labels_and_numbers_are_left_as_they_are(document):
    """Labels may look like paths, such as ``/m/01g317``."""
    assert shown({"label": "/m/01g317", "items": document}) == {"label": "/m/01g317", "items": document}


@given(st.dictionaries(names, leaves | st.fixed_dictionaries({"ready": st.booleans(), "reason": st.text()})))
def test_bare_readiness_has_no_text(document):
    assert not [
        value for value in _leaves(json.loads(bare_readiness(json.dumps(document).encode()))) if isinstance(value, str)
    ]


def _leaves(value: object):
    yield from (each for inner in value.values() for each in _leaves(inner)) if isinstance(value, dict) else [value]
