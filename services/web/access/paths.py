"""Answers without the paths of the server: keys of the roles read and write see the last part of a path only."""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from starlette.types import Message, Send

from services.settings import Settings

Change = Callable[[bytes], bytes]
"""A function from the body of an answer to the body that is sent instead of it."""

FIELDS = {
    *("message", "reason", "failure", "error", "refused", "source", "sources", "by"),
    *("folder", "labels_file", "log", "result"),
}
"""Fields of JSON answers whose texts can name paths. Labels stay: some data sets have labels like ``/m/01g317``."""

_PART = r"[^\s\"'\\/<>|:;,()\[\]{}]+"
_PATH = re.compile(rf"(?<![\w.:/\\…])(?:file://)?/(?:{_PART}/)*({_PART})")  # neither part of a URL nor relative


def cutting(settings: Settings) -> Callable[[str], str]:
    """Return a function that leaves the last part of each path in a text, as in ``…/photo.jpg``.

    The folders of `settings` are found even if they contain spaces.
    """
    folders = (
        *(settings.store, settings.heads, settings.cache, settings.adapters, settings.clusters, settings.jobs),
        *settings.job_folders,
    )
    spaced = {path: f"…/{Path(path).name}" for path in map(str, folders) if path.startswith("/") and " " in path}

    def cut(text: str) -> str:
        for path, shown in spaced.items():
            text = text.replace(path, shown)
        return _PATH.sub(r"…/\1", text)

    return cut


def hiding(settings: Settings, fields: Collection[str] = FIELDS, *, names: bool = False) -> Change:
    """Return a function that cuts each path in a JSON document to its last part, see `cutting`.

    Args:
        fields: fields whose texts can name paths, with all that is in them.
        names: True if the names of fields inside these can be paths too.
    """
    cut = cutting(settings)

    def walk(value: Any, hidden: bool = False) -> Any:
        if isinstance(value, dict):
            return {
                cut(name) if hidden and names else name: (
                    _last_part(each) if name == "uri" else walk(each, hidden or name in fields)
                )
                for name, each in value.items()
            }
        if isinstance(value, list):
            return [walk(each, hidden) for each in value]
        return cut(value) if hidden and isinstance(value, str) else value

    def change(body: bytes) -> bytes:
        return body if b"/" not in body else _dumped(walk(json.loads(body)))

    return change


def _last_part(uri: object) -> object:
    """Return the uri of an asset without its folder if it is on a disk of the server, otherwise unchanged."""
    if not isinstance(uri, str) or ("://" in uri and not uri.startswith("file://")):
        return uri
    return f"…/{uri.rpartition('/')[2]}" if "/" in uri else uri


def bare_readiness(body: bytes) -> bytes:
    """Return the answer of /health/ready without reasons and names: True or False for each thing, and no more."""

    def bare(details: dict[str, Any]) -> dict[str, Any]:
        shown = {name: bare(value) if isinstance(value, dict) else value for name, value in details.items()}
        return {name: value for name, value in shown.items() if isinstance(value, bool | dict)}

    return _dumped(bare(json.loads(body)))


def changed(send: Send, change: Change, *, only_errors: bool = False) -> Send:
    """Return `send`, which sends the result of `change` in place of the body of a JSON answer.

    Args:
        only_errors: leave answers with a status below 400 as they are.
    """
    start: Message | None = None
    body, lowest = b"", 400 if only_errors else 0

    async def send_changed(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start" and _is_json(message) and message["status"] >= lowest:
            start = message
            return
        if start is None:
            await send(message)
            return
        body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = change(body)
        headers = [(key, value) for key, value in start["headers"] if key != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await send({**start, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    return send_changed


def _dumped(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _is_json(message: Message) -> bool:
    return any(key == b"content-type" and value.startswith(b"application/json") for key, value in message["headers"])
