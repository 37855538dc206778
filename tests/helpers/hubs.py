"""A small model hub on loopback: what the Hugging Face hub's client asks for, for folders of a test."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

from helpers.serving import answering


@dataclass
class Hub:
    """Repositories by name, each with the folder of every revision. A revision's commit is the digest of its files.

    Attributes:
        refused: HTTP status and the hub's error code, by repository, e.g. (403, "GatedRepo").
        cut: number of bytes after which the next downloads of a file break off, one number for each, by file name.
        stalled: set when a download has broken off while `stalls` is True: the connection then stays open.
        changed: True sends other bytes of large files than announced.
        asked: all requests, e.g. ``GET /someone/model/resolve/…``.
    """

    repositories: dict[str, dict[str, Path]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: dict[str, list[int]] = field(default_factory=dict)
    stalls: bool = False
    stalled: Event = field(default_factory=Event)
    changed: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def publish(self, repository: str, folder: Path, revision: str = "main") -> str:
        """Publish a folder as a revision, and return its commit."""
        self.repositories.setdefault(repository, {})[revision] = folder
        return commit(folder)

    def folder(self, repository: str, revision: str) -> Path | None:
        revisions = self.repositories[repository]
        by_commit = {commit(folder): folder for folder in revisions.values()}
        return by_commit.get(revision) or revisions.get(revision)


def commit(folder: Path) -> str:
    return hashlib.sha1(b"".join(path.read_bytes() for path in files(folder))).hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of the hub's client. A subclass knows the hub."""

    hub: Hub

    def do_HEAD(self):
        self.hub.asked.append(f"{self.command} {self.path}")
        path = unquote(self.path.partition("?")[0])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/(.+))?", path):
            self.describe(found[1], found[2] or "revision", found[3] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+?)/([^/]+)", path):
            self.send(found[1], found[2], found[3])
        else:
            self.refuse(404, "RepoNotFound")

    def do_GET(self):
        self.do_HEAD()

    def describe(self, repository, what, revision):
        """Send a revision's commit, or the list of its files. A gated repository shows both."""
        if folder := self.found(repository, revision, gates=False):
            names = [{"rfilename": path.name} for path in files(folder)]
            page = {"id": repository, "modelId": repository, "sha": commit(folder), "siblings": names, "tags": []}
            content = page if what == "revision" else [entry(path) for path in files(folder)]
            self.answer(json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send(self, repository, revision, name):
        """Send a file, or as much of it as `Hub.cut` allows."""
        folder = self.found(repository, revision, gates=True)
        if folder is None:
            return
        path, headers = folder / name, {"X-Repo-Commit": commit(folder)}
        if not path.is_file():
            self.refuse(404, "EntryNotFound", headers)
            return
        content, listed = path.read_bytes(), entry(path)
        headers |= {"ETag": f'"{listed["oid"]}"', "Accept-Ranges": "bytes"}
        if large := listed.get("lfs"):
            headers |= {"X-Linked-Etag": f'"{large["oid"]}"', "X-Linked-Size": str(len(content))}
            content = bytes(len(content)) if self.hub.changed else content
        self.answer(content, headers, self.hub.cut.get(name))

    def found(self, repository, revision, gates):
        """Return the folder of a revision, or None after a refusal has been sent."""
        hub = self.hub
        if repository in hub.refused and (gates or hub.refused[repository][1] != "GatedRepo"):
            return self.refuse(*hub.refused[repository])
        if repository not in hub.repositories:
            return self.refuse(401, "RepoNotFound")  # as the hub does, so that private names stay unknown
        return hub.folder(repository, revision) or self.refuse(404, "RevisionNotFound")

    def refuse(self, status, code, headers=()):
        self.send_response(status)
        for name, value in {"X-Error-Code": code, "Content-Length": "0", **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(self, content, headers, cut=None):
        start = int((self.headers.get("Range") or "bytes=0-").split("=")[1].split("-")[0])
        if start:
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.send_response(206 if start else 200)
        for name, value in (headers | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[start:][: cut.pop(0) if cut else None])
            if cut is not None and self.hub.stalls:
                self.wfile.flush()
                self.hub.stalled.set()
                self.connection.settimeout(60)
                self.rfile.read(1)  # until the other side closes
            self.close_connection = True

    def log_message(self, *_):
        pass


def entry(path: Path) -> dict[str, object]:
    """Return a file as the hub's tree lists it. Weights are large files, which have a sha256."""
    content = path.read_bytes()
    found = {"type": "file", "path": path.name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if path.suffix in (".safetensors", ".bin"):
        sha256 = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
    return found


@contextmanager
def hub_on_loopback(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve an empty hub, and let the hub's client of this process ask it, with an empty cache in `cache`."""
    hub = Hub()
    with answering(type("Handler", (_Handler,), {"hub": hub})) as url:
        hub.url = url
        patch.setattr(constants, "ENDPOINT", url)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr("time.sleep", lambda _: None)  # the client waits between its attempts
        yield hub
