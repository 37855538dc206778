"""Answers of the service as the page reads them, framed byte for byte, and a scripted service that gives them."""

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, Request, Route

Columns = dict[str, NDArray[Any]]
JSON = dict[str, Any]


def framed(header: JSON, contents: bytes) -> bytes:
    """Return a body as GET /v1/rows and POST /v1/thumbnails have it: length, JSON padded with spaces, contents."""
    text = json.dumps(header).encode()
    text += b" " * (-(4 + len(text)) % 8)
    return len(text).to_bytes(4, "little") + text + contents


def rows_body(columns: Columns, **header: Any) -> bytes:
    """Return the body of an answer of GET /v1/rows with these columns; `header` has labels, head and so on."""
    contents, listed = b"", []
    for name, values in columns.items():
        data = values.tobytes()
        listed.append({"name": name, "dtype": values.dtype.name, "bytes": len(data), "offset": len(contents)})
        contents += data + bytes(-len(data) % 8)
    count = len(columns["id"])
    known = {"rows": count, "version": digest(columns["id"]), "labels": [], "modalities": ["image"]}
    return framed({**known, "head": None, "encoder": None, "axes": None, **header, "columns": listed}, contents)


def digest(ids: NDArray[np.uint8]) -> str:
    return hashlib.sha256(ids.tobytes()).hexdigest()[:16]


def some_ids(count: int) -> NDArray[np.uint8]:
    """Return `count` different ids: the first eight bytes are the number of the row."""
    ids = np.zeros((count, 32), np.uint8)
    ids[:, :8] = np.arange(count, dtype=">u8").view(np.uint8).reshape(count, 8)
    return ids


def some_columns(count: int, classes: int, seed: int = 0, labelled: float = 0.8) -> Columns:
    """Return random columns of a task with one label a row and a head that is right nine times of ten."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count).astype(np.int32)
    guess = np.where(rng.random(count) < 0.9, truth, rng.integers(0, classes, count)).astype(np.int32)
    has_label, has_vector = rng.random(count) < labelled, rng.random(count) < 0.95
    nothing = np.float32(np.nan)
    return {
        "id": some_ids(count),
        "modality": np.zeros(count, np.uint8),
        "label": np.where(has_label, truth, -1).astype(np.int32),
        "split": np.where(has_label, rng.integers(1, 4, count), 0).astype(np.uint8),
        "vector": has_vector.astype(np.uint8),
        "prediction": np.where(has_vector, guess, -1).astype(np.int32),
        "probability": np.where(has_vector, rng.uniform(0.3, 1, count), nothing).astype(np.float32),
        "margin": np.where(has_vector, rng.uniform(0, 1, count), nothing).astype(np.float32),
        "outlier": np.where(has_vector, rng.uniform(0, 100, count), nothing).astype(np.float32),
        "set_size": np.where(has_vector, rng.integers(1, 4, count), 0).astype(np.uint16),
    }


def tinted(asset: str) -> bytes:
    """Return a small picture whose colour depends on the id."""
    colour = tuple(hashlib.sha256(asset.encode()).digest()[:3])
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def thumbnails_body(ids: Sequence[str], picture: Callable[[str], bytes] = tinted) -> bytes:
    pictures = [picture(each) for each in ids]
    items = [
        {"id": each, "type": "image/png", "bytes": len(data), "width": 8, "height": 8}
        for each, data in zip(ids, pictures, strict=True)
    ]
    return framed({"items": items}, b"".join(pictures))


@dataclass
class Scripted:
    """A service with one task, as the page sees it. `requests` has what was asked; `labels` what was saved."""

    columns: Columns
    classes: list[str]
    many: bool = False
    encoders: list[JSON] = field(default_factory=lambda: [{"name": "lite0", "rows": 95, "texts": True}])
    heads: list[JSON] = field(default_factory=lambda: [{"name": "head", "task": "kind", "encoders": ["lite0"]}])
    assets: int | None = None
    tasks: list[JSON] | None = None
    role: str = "admin"
    refuses: str | None = None
    down: bool = False
    picture: Callable[[str], bytes] = tinted
    answers: dict[str, Any] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)

    def serve(self, tab: Page) -> None:
        """Answer the requests of the page that is opened in `tab`."""
        tab.route(lambda url: urlsplit(url).path.startswith(("/v1/", "/heads", "/search")), self._answer)

    def asked(self, path: str) -> list[Any]:
        return [body for _, asked, body in self.requests if asked == path]

    def _answer(self, route: Route, request: Request) -> None:
        url = urlsplit(request.url)
        path = url.path.lstrip("/")
        is_json = "json" in request.headers.get("content-type", "")
        body = request.post_data_json if is_json else parse_qs(url.query)
        self.requests.append((request.method, path, body))
        if self.down:
            return route.abort()
        if path == "v1/labels" and self.refuses:
            return route.fulfill(status=409, json={"error": {"code": "refused", "message": self.refuses}})
        found = self._found(path, request.method, body)
        if isinstance(found, bytes):
            return route.fulfill(body=found, content_type="application/octet-stream")
        return route.fulfill(json=found)

    def _found(self, path: str, method: str, body: Any) -> Any:
        if path in self.answers:
            return self.answers[path]
        if path == "v1/rows":
            return rows_body(self.columns, labels=list(self.classes), head="head@1" if self.heads else None)
        if path == "v1/thumbnails":
            return thumbnails_body(body["ids"], self.picture)
        if path == "v1/labels":
            return self._labels(method, body)
        if path.endswith("/thumbnail"):
            return self.picture(path.split("/")[2])
        plain = {
            "v1/me": {"name": None, "role": self.role, "keys": False, "jobs": True},
            "v1/overview": self.overview(),
            "heads": {"heads": self.heads},
            "v1/labels/history": {"id": "", "history": []},
        }
        return plain.get(path, {"uri": "photo.jpg", "modality": "image", "bytes": 2048, "labels": []})

    def _labels(self, method: str, body: Any) -> JSON:
        if method == "DELETE":
            self.labels.update({each: [] for each in body["id"]})
        else:
            self.labels.update({each["id"]: each["labels"] for each in body["labels"]})
        return {"task": "kind", "changed": 1, "at": "2026-01-01T00:00:00Z"}

    def overview(self) -> JSON:
        count = len(self.columns["id"]) if self.assets is None else self.assets
        return {
            "store": count > 0,
            "assets": count,
            "modalities": {"image": count},
            "quarantined": 0,
            "tasks": [self._task()] if self.tasks is None else self.tasks,
            "encoders": self.encoders,
            "version": "1",
        }

    def _task(self) -> JSON:
        label = self.columns["label"]
        counts = np.bincount(label[label >= 0], minlength=len(self.classes))
        names = {"train": 0, "val": 0, "test": 0, "ood": 0, "none": 0}
        classes = [
            {**names, "name": name, "train": int(count)} for name, count in zip(self.classes, counts, strict=False)
        ]
        classes.sort(key=lambda each: -int(each["train"]))
        return {"name": "kind", "labelled": int((label >= 0).sum()), "many": self.many, "classes": classes}


def encoded(body: bytes) -> str:
    """Return a body as text that a script of a page can decode."""
    return base64.b64encode(body).decode()
