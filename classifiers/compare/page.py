"""A comparison as one HTML page that needs no other file; its charts are also written as PNG beside it."""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from classifiers.compare.comparison import Comparison
from classifiers.compare.family import ANY_LABELS
from classifiers.compare.mistakes import Show, Shown
from classifiers.compare.pictures import Picture, draw
from classifiers.compare.sections import points, table, winner_sections
from classifiers.evaluation.figures import ECE, NLL
from classifiers.evaluation.reports.labels import MAP

REPORT = "report.html"

AHEAD = ("=winner ahead by", "=P(winner better)")
"""Titles of the columns that `ahead` fills; for the leading =, see `sections.table`."""

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


def write(comparison: Comparison, show: Show = lambda _: {}, shortened: Callable[[str], str] = str) -> None:
    """Write the PNGs and `report.html` into the comparison's folder.

    Args:
        show: returns what is shown of the assets that the winner gets wrong.
        shortened: returns the name of an encoder as the report shows it. Names can contain paths.
    """
    pictures, shown = draw(comparison, shortened), show([each.id for each in comparison.mistakes])
    for picture in pictures:
        (comparison.folder / f"{picture.name}.png").write_bytes(picture.png)
    html = to_html(comparison, pictures, shown)
    for name in sorted(comparison.rows.encoders, key=len, reverse=True):
        html = html.replace(escape(name), escape(shortened(name)))
    (comparison.folder / REPORT).write_text(html, encoding="utf-8")


def to_html(comparison: Comparison, pictures: Sequence[Picture], shown: Mapping[str, Shown]) -> str:
    """Return the comparison as one HTML page with its pictures and photos inside."""
    parts = [
        *opening(comparison),
        *verdict(comparison),
        f'<p class="faint">{escape(terms(comparison))}</p>',
        *test_section(comparison),
        *winner_sections(comparison, shown),
        *ranking_section(comparison),
        *failed_section(comparison),
        "<h2>Pictures</h2>" if pictures else "",
        *map(figure, pictures),
    ]
    return PAGE.substitute(title=escape(f"Heads for {comparison.rows.task}"), body="\n".join(filter(None, parts)))


def terms(comparison: Comparison) -> str:
    """Return the meaning of the figures."""
    return " ".join([*([MAP] if comparison.family is ANY_LABELS else []), NLL, ECE])


def opening(comparison: Comparison) -> list[str]:
    """Return the title, what was compared, and the notes."""
    done, all_ = len(comparison.trials), len(comparison.candidates)
    unfinished = "" if comparison.state == "done" else f" <strong>Unfinished: {done} of {all_} tried.</strong>"
    about = (
        f"{done} heads on vectors of {', '.join(comparison.rows.encoders)}; "
        f"store as of {comparison.rows.snapshot.at:%Y-%m-%d %H:%M} UTC."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    return [
        f"<h1>Heads for {escape(comparison.rows.task)}</h1>",
        f'<p class="faint">{escape(about)}{unfinished}</p>',
        f"<ul>{notes}</ul>" if notes else "",
    ]


def verdict(comparison: Comparison) -> list[str]:
    """Return the section on the winner: its accuracy, its command, and a smaller head that may be as good."""
    best, smaller = comparison.winner(), comparison.smallest_alike()
    if best is None:
        return ["<p>There is no trained head. If candidates failed, the reasons are below.</p>"]
    family, found = comparison.family, best.evaluation
    low, high = family.interval(found)
    lines = [
        "<h2>Train this one</h2>",
        f"<p><strong>{escape(best.candidate.label)}</strong>: {family.figure} {family.value(found):.1%} on "
        f"{found.rows:,} validation rows ({low:.3f} to {high:.3f}). It was chosen as the best of "
        f"{len(comparison.trials)} on these rows: "
        f"expect a slightly lower {family.figure} on new rows.</p>",
        command_block(comparison.command(best)),
    ]
    if smaller:
        lines += [
            f"<p>A smaller head may be as good, with {smaller.parameters:,} parameters instead of {best.parameters:,}: "
            f"<strong>{escape(smaller.candidate.label)}</strong>, {family.value(smaller.evaluation):.1%}. The "
            "difference on these rows may be chance.</p>",
            command_block(comparison.command(smaller)),
        ]
    return lines


def command_block(command: str) -> str:
    return f"<pre><code>{escape(command)}</code></pre>" if command else ""


def test_section(comparison: Comparison) -> list[str]:
    """Return the section with the figures of the winner and its controls on the test rows."""
    if not comparison.test:
        return []
    columns = ("head", "encoders", *comparison.family.titles, *AHEAD)
    rows = []
    for label, found in comparison.test.items():
        candidate = comparison.trials[label].candidate
        rows.append(
            [
                candidate.title,
                candidate.inputs,
                *comparison.family.cells(found),
                *ahead(comparison, comparison.test_pairs.get(label)),
            ]
        )
    return [
        f"<h2>On {next(iter(comparison.test.values())).rows:,} test rows</h2>",
        "<p>Read once, after the choice, for the winner and for the controls: simple heads that it should beat.</p>",
        table(columns, rows, best=0),
    ]


def ranking_section(comparison: Comparison) -> list[str]:
    """Return the section with all finished candidates, best first, and with the meaning of the columns."""
    columns = ("=rank", "head", "encoders", *comparison.family.titles, *AHEAD, "=parameters", "=seconds")
    ranked = comparison.ranking()
    rows = [
        [
            str(rank),
            trial.candidate.title,
            trial.candidate.inputs,
            *comparison.family.cells(trial.evaluation),
            *ahead(comparison, comparison.pairs.get(trial.candidate.label)),
            f"{trial.parameters:,}",
            f"{trial.seconds:.1f}",
        ]
        for rank, trial in enumerate(ranked, 1)
    ]
    best = comparison.winner()
    return [
        f"<h2>Ranking on {escape(comparison.validated_on)}</h2>",
        f"<p>Sorted by {comparison.family.figure}, then NLL. <em>Winner ahead by</em>: difference of "
        f"{comparison.family.figure} in percentage points with "
        "its 95 % interval, from the same rows resampled for both heads. If the interval contains 0, the difference "
        "may be chance. <em>P(winner better)</em>: share of the resamples in which the winner is better.</p>",
        table(columns, rows, best=ranked.index(best) if best else None),
    ]


def failed_section(comparison: Comparison) -> list[str]:
    """Return the section with the candidates that failed, and the reasons."""
    if not comparison.failed:
        return []
    return ["<h2>Not ranked</h2>", table(("head", "why"), [[*each] for each in comparison.failed.items()])]


def ahead(comparison: Comparison, pair: Any) -> list[str]:
    """Return the cells of the columns `AHEAD`; empty for the winner itself."""
    lead = comparison.family.lead(pair) if pair else None
    return [points(lead), f"{lead.better:.0%}"] if lead else ["", ""]


def figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.text)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
