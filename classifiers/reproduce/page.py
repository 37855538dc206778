"""A reproduction on disk: one HTML page for people, one JSON file for programs."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

from classifiers.evaluation import html
from classifiers.reproduce.paper import Reproduction, Table

REPORT, RECORD = "report.html", "reproduction.json"


def write(found: Reproduction, folder: Path) -> Path:
    """Write the report, its record and its pictures into `folder`, which is made; return the path of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in found.pictures:
        each.save(folder)
    (folder / RECORD).write_text(json.dumps(found.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
    report = folder / REPORT
    report.write_text(to_html(found), encoding="utf-8")
    return report


def to_html(found: Reproduction) -> str:
    """Return the reproduction as one page with its pictures inside: this store first, then the paper's figures."""
    about = (
        f"On task {found.task}, vectors of {', '.join(found.encoders)}; "
        f"store as of {found.snapshot.at:%Y-%m-%d %H:%M} UTC."
    )
    settings = "; ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in found.settings.items())
    parts = [
        f"<h1>{escape(found.paper.title)}</h1>",
        f'<p class="faint">arXiv {escape(found.paper.arxiv)}. {escape(about)} Settings: {escape(settings)}.</p>',
        *_list("What this store shows", found.findings),
        *_list("Not measured", found.missing),
        *(part for each in found.tables for part in _table(each)),
        *(each.to_html() for each in found.pictures),
        "<h2>What the paper printed</h2>",
        *(part for each in found.paper.published for part in _table(each, level=3)),
    ]
    return html.page(f"{found.paper.title} on {found.task}", parts)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _list(title: str, sentences: tuple[str, ...]) -> list[str]:
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return [f"<h2>{title}</h2>", f"<ul>{items}</ul>"] if sentences else []


def _table(table: Table, level: int = 2) -> list[str]:
    return [
        f"<h{level}>{escape(table.title)}</h{level}>",
        html.table(table.columns, table.rows, table.best),
        *(f'<p class="faint">{escape(note)}</p>' for note in table.notes),
    ]
