"""A real store and its heads as the page reads them: real labels, and real answers of the heads."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, Request, Route

from helpers.page_rows import rows_body, thumbnails_body
from store import Store

JSON = dict[str, Any]
SPLITS = ("none", "train", "val", "test", "ood")


@dataclass
class StoredPage:
    """Answers for the endpoints that show a store, beside a real service that answers everything else.

    Attributes:
        store, pictures: the store, and the file of each asset by id.
        url: URL of the classification service.
        heads: folder of its heads, for their reports.
        answers: path → the answer to give, or a function from the body to it; an int is a status that fails.
        requests: (method, path, body) of what was asked.
    """

    store: Store
    pictures: Mapping[str, Path]
    url: str
    heads: Path
    me: JSON = field(default_factory=lambda: {"name": None, "role": "admin", "keys": False, "jobs": True})
    answers: dict[str, Any | Callable[[Any], Any]] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)

    def open(self, tab: Page, view: str) -> None:
        """Open a view of the page in `tab`."""
        shown = ("/v1/me", "/v1/overview", "/v1/rows", "/v1/thumbnails", "/v1/learn", "/report", *self.answers)
        tab.route(lambda url: any(urlsplit(url).path.endswith(path) for path in shown), self._answer)
        tab.goto(f"{self.url}/#{view}")

    def asked(self, path: str, method: str = "POST") -> list[Any]:
        return [body for its, asked, body in self.requests if (its, asked) == (method, path)]

    def _answer(self, route: Route, request: Request) -> None:
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = request.post_data_json if request.post_data else query
        self.requests.append((request.method, url.path, body))
        found = self.answers[url.path] if url.path in self.answers else self._found(url.path, body)
        found = found(body) if callable(found) else found
        if isinstance(found, int):
            route.fulfill(status=found, json={"error": {"code": "refused", "message": "It is not possible now."}})
        elif isinstance(found, bytes):
            route.fulfill(body=found, content_type="application/octet-stream")
        else:
            route.fulfill(json=found)

    def _found(self, path: str, body: Any) -> Any:
        if path == "/v1/me":
            return self.me
        if path == "/v1/overview":
            return self.overview()
        if path == "/v1/rows":
            return self.rows(body)
        if path == "/v1/thumbnails":
            return thumbnails_body(body["ids"], self._picture)
        if path.endswith("/report"):
            return self.report(path.split("/")[2], body["version"])
        return {"ready": True, "tasks": [self.learnable(each) for each in self.store.labels.tasks()]}

    def _picture(self, asset: str) -> bytes:
        file = io.BytesIO()
        with Image.open(self.pictures[asset]) as picture:
            picture.convert("L").resize((200, 200)).save(file, "PNG")
        return file.getvalue()

    def _catalogue(self) -> list[JSON]:
        found: list[JSON] = httpx.get(f"{self.url}/heads").json()["heads"]
        return found

    def report(self, name: str, version: str) -> JSON:
        found: JSON = json.loads((self.heads / name / version / "report.json").read_text())
        return {"name": name, "version": version, **found}

    def learnable(self, task: str) -> JSON:
        found = [each for each in self._catalogue() if each["task"] == task]
        current = found and {
            "name": found[0]["name"],
            "version": found[0]["aliases"]["latest"],
            "kind": found[0]["kind"],
            "encoders": found[0]["encoders"],
        }
        return {"name": task, "encoders": ["lite0"], "kinds": ["gaussian", "linear"], "current": current or None}

    def overview(self) -> JSON:
        tasks = []
        for task in self.store.labels.tasks():
            counts: dict[str, dict[str, int]] = {}
            for row in self.store.labels.get(task).to_pylist():
                for label in row["labels"]:
                    counts.setdefault(label, dict.fromkeys(SPLITS, 0))[row["split"] or "none"] += 1
            classes = [{"name": name, **each} for name, each in counts.items()]
            many = any(len(row["labels"]) > 1 for row in self.store.labels.get(task).to_pylist())
            tasks.append({"name": task, "labelled": len(self.pictures), "many": many, "classes": classes})
        encoder = {"name": "lite0", "rows": len(self.pictures), "texts": False, "network": True}
        return {
            "store": True,
            "assets": len(self.pictures),
            "modalities": {"image": len(self.pictures)},
            "quarantined": 0,
            "tasks": tasks,
            "encoders": [encoder],
            "version": "1",
        }

    def rows(self, query: JSON) -> bytes:
        """Return the columns for the task and the head of the request, with the head's real answers."""
        ids = sorted(self.pictures)
        stored = {row["id"]: row for row in self.store.labels.get(query["task"]).to_pylist()} if "task" in query else {}
        labels = [stored.get(each, {"labels": [], "split": None}) for each in ids]
        head = next((each for each in self._catalogue() if each["name"] == query.get("head", "").split("@")[0]), None)
        answers = self._answers(query["head"], ids) if head else [None] * len(ids)
        given = [answer and (answer.get("label") or None) for answer in answers]
        names = sorted({label for row in labels for label in row["labels"]} | {each for each in given if each})
        code = {name: number for number, name in enumerate(names)}
        columns = {
            "id": np.frombuffer(bytes.fromhex("".join(ids)), np.uint8).reshape(-1, 32),
            "modality": np.zeros(len(ids), np.uint8),
            "label": np.array([code[row["labels"][0]] if row["labels"] else -1 for row in labels], np.int32),
            "split": np.array([SPLITS.index(row["split"] or "none") for row in labels], np.uint8),
            "vector": np.ones(len(ids), np.uint8),
        }
        if head:
            columns["prediction"] = np.array([code[each] if each else -1 for each in given], np.int32)
            sure = [answer.get("probability") if answer else None for answer in answers]
            columns["probability"] = np.array([np.nan if each is None else each for each in sure], np.float32)
        version = query.get("head", "").partition("@")[2] or (head and head["aliases"]["latest"])
        name = head and f"{head['name']}@{version}"
        return rows_body(columns, labels=names, head=name, encoder="lite0")

    def _answers(self, head: str, ids: list[str]) -> list[JSON | None]:
        found: list[JSON | None] = []
        for start in range(0, len(ids), 128):
            asked = httpx.post(f"{self.url}/classify", params={"head": head}, json={"ids": ids[start : start + 128]})
            found += [
                each["answers"][0] if each["answers"] else None for each in asked.raise_for_status().json()["items"]
            ]
        return found
