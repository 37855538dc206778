"""A comparison as one HTML page that needs no other file; its charts are also written as PNG beside it."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from classifiers.compare.comparison import Comparison
from classifiers.compare.family import ANY_LABELS
from classifiers.compare.mistakes import Show, Shown
from classifiers.compare.pictures import draw
from classifiers.compare.sections import winner_sections
from classifiers.evaluation.figures import ECE, NLL
from classifiers.evaluation.html import Picture, command_block, page, table
from classifiers.evaluation.percentages import points
from classifiers.evaluation.reports.labels import MAP

REPORT = "report.html"

AHEAD = ("=winner ahead by", "=P(winner better)")
"""Titles of the columns that `ahead` fills; for the leading =, see `html.table`."""


def write(comparison: Comparison, show: Show = lambda _: {}, shortened: Callable[[str], str] = str) -> None:
    """Write the PNGs and `report.html` into the comparison's folder.

    Args:
        show: returns what is shown of the assets that the winner gets wrong.
        shortened: returns the name of an encoder as the report shows it. Names can contain paths.
    """
    pictures, shown = draw(comparison, shortened), show([each.id for each in comparison.mistakes])
    for each in pictures:
        each.save(comparison.folder)
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
        *(each.to_html() for each in pictures),
    ]
    return page(f"Heads for {comparison.rows.task}", parts)


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
