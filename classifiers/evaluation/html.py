"""Pages of HTML that need no other file: the template, tables, bars, pictures, commands to copy."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1b1b1b; --faint: #666; --line: #ddd; --page: #fff; --mark: #e8f1fa;
  --bar: #2f6fab; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --faint: #a0a0a0; --line: #3a3a3a; --page: #161616; --mark: #1d2c3a; --bar: #6aa9e0; }
}
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: var(--ink); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
p, li, figcaption { max-width: 44rem; }
.faint, figcaption { color: var(--faint); }
pre { padding: .75rem; background: var(--mark); white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { vertical-align: bottom; overflow-wrap: normal; }
td:not(.n) { min-width: 5rem; max-width: 22rem; }
.n { text-align: right; overflow-wrap: normal; }
tr.best { background: var(--mark); }
@media (max-width: 68rem) {
  thead { display: none; }
  table, tbody, tr { display: block; }
  tr { margin: 1rem 0; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: .5rem; }
  td, td:not(.n) { display: flex; justify-content: space-between; gap: 1rem; max-width: none; padding: .15rem 0;
    border: 0; text-align: right; }
  td:empty { display: none; }
  td::before { content: attr(data-title); flex: none; color: var(--faint); }
}
.bar { display: flex; align-items: center; gap: .5rem; min-width: 7rem; }
.bar svg { flex: 1 1 4rem; min-width: 2rem; max-width: 9rem; height: .6rem; fill: var(--bar); }
.bar .track { fill: var(--line); }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: 1rem; padding: 0;
  list-style: none; font-size: .875rem; }
.photos li { overflow-wrap: anywhere; }
.photos img { display: block; width: 8rem; height: 8rem; object-fit: contain; background: var(--mark); }
.photos .faint { display: block; }
figure { margin: 1.5rem 0; }
img { max-width: min(100%, 44rem); height: auto; background: #fff; }
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


class Html(str):
    """A text that is HTML already, so it is not escaped."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with a caption, and a text that says what it shows for readers who cannot see it."""

    name: str
    png: bytes
    caption: str
    text: str

    def save(self, folder: Path) -> None:
        """Write the PNG into `folder`, under its name."""
        (folder / f"{self.name}.png").write_bytes(self.png)

    def to_html(self) -> Html:
        """Return the picture as a figure, with its bytes inside."""
        data = base64.b64encode(self.png).decode()
        return Html(
            f'<figure><img src="data:image/png;base64,{data}" alt="{escape(self.text)}">'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page with the HTML of `parts` in this order; empty ones are left out."""
    return PAGE.substitute(title=escape(title), body="\n".join(filter(None, parts)))


def command_block(command: str) -> str:
    """Return a command line to copy; nothing for an empty one."""
    return f"<pre><code>{escape(command)}</code></pre>" if command else ""


def bar(share: float, text: str) -> Html:
    """Return a bar from 0 to 1 with its number beside it."""
    return Html(
        '<span class="bar"><svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="10"></rect><rect width="{100 * share:.1f}" height="10"></rect></svg>'
        f"{escape(text)}</span>"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    """Return an HTML table. Columns whose title starts with = are aligned as numbers; row number `best` is marked.

    A narrow window shows each row as a list, where a cell shows its own title.
    """
    kinds = [' class="n"' if title.startswith("=") else "" for title in columns]
    titles = [title.removeprefix("=") for title in columns]
    head = "".join(f'<th scope="col"{kind}>{escape(title)}</th>' for title, kind in zip(titles, kinds, strict=True))
    body = []
    for number, row in enumerate(rows):
        named = zip(row, titles, kinds, strict=True)
        cells = "".join(f'<td{kind} data-title="{escape(title)}">{_cell(cell)}</td>' for cell, title, kind in named)
        body.append(f'<tr class="best">{cells}</tr>' if number == best else f"<tr>{cells}</tr>")
    lines = "\n".join(body)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{lines}</tbody></table>"


def _cell(cell: str) -> str:
    return cell if isinstance(cell, Html) else escape(cell)
