"""The Markdown page with the outcomes of all studies."""

import os
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.measure import model
from benchmarks.quality.study import Finding, Outcome, Study, Table, versions

INTRODUCTION = """\
`python -m benchmarks.quality` writes this page. Intervals are 95 % intervals from 2,000 paired resamplings of the test
rows; ± is the standard deviation over seeds or draws. A verdict, *holds here* or *does not hold here*, is that of the
measured figure. If its interval also contains figures with the other verdict, it is *too close to be sure*. Nothing is
chosen on test rows.

The *oracle* is right on every row that at least one encoder gets right. The *Q statistic* of two encoders is 1 if both
fail on the same rows, 0 if their errors are independent. *mAP* is the mean over the labels of the average precision. In
*ZSL* (zero-shot learning), labels that training never saw compete only with one another; in *GZSL* (generalised), with
the labels that it saw too. *F1@3* counts the 3 best labels of each row as predicted."""


def page(done: Sequence[tuple[Study, Outcome]], missing: Sequence[str] = ()) -> str:
    """Return the page: a summary, then each paper's findings, tables and failures. `missing` are unmeasured studies."""
    parts = ["# Do the papers' findings hold here?", INTRODUCTION, conditions(done), summary(done)]
    if missing:
        parts.append(f"**Not measured yet:** {'; '.join(missing)}.")
    for paper in dict.fromkeys(study.paper for study, _ in done):
        chosen = [(study, outcome) for study, outcome in done if study.paper == paper]
        remarks = {claim: remark for study, _ in chosen for claim, remark in study.remarks.items()}
        parts += [f"## {paper}", *claims([f for _, outcome in chosen for f in outcome.findings], remarks)]
        parts += tables(t for _, outcome in chosen for t in outcome.tables)
        settings = {name: value for study, _ in chosen for name, value in study.settings.items()}
        parts.append("Settings: " + "; ".join(f"{name} {plain(value)}" for name, value in settings.items()) + ".")
        parts += [f"**Failed:** {study.name}: {outcome.error}" for study, outcome in chosen if outcome.error]
    return "\n\n".join(parts) + "\n"


def conditions(done: Sequence[tuple[Study, Outcome]]) -> str:
    dates = sorted({outcome.date for _, outcome in done})
    seconds = sum(outcome.seconds for _, outcome in done)
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return f"{when}; {model()}, {os.cpu_count()} cores; {seconds / 60:.0f} minutes of measuring; {packages}."


def summary(done: Sequence[tuple[Study, Outcome]]) -> str:
    """Return a table with a row for each claim: on how many data sets and encoders it holds."""
    rows = []
    for paper in dict.fromkeys(study.paper for study, _ in done):
        found = [f for study, outcome in done if study.paper == paper for f in outcome.findings]
        for claim, each in by_claim(found).items():
            held, close = sum(f.holds for f in each), sum(not f.sure for f in each)
            rows.append((claim, f"{held} of {len(each)}", str(close) if close else ""))
    return markdown(("finding", "holds here in", "too close to be sure in"), rows)


def claims(findings: Iterable[Finding], remarks: Mapping[str, str]) -> list[str]:
    """Return a heading, the remark if there is one, and a table of verdicts, for each claim."""
    parts = []
    for claim, each in by_claim(findings).items():
        rows = [(f.where, f.figure, f"*{f.verdict}*") for f in each]
        remark = [remarks[claim]] if claim in remarks else []
        parts += [f"### {claim[0].upper()}{claim[1:]}", *remark, markdown(("where", "figure", "verdict"), rows)]
    return parts


def by_claim(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.claim, []).append(finding)
    return grouped


def tables(found: Iterable[Table]) -> list[str]:
    """Join tables with the same title and header into one."""
    joined: dict[tuple[str, tuple[str, ...]], list[tuple[str, ...]]] = {}
    for table in found:
        joined.setdefault((table.title, table.header), []).extend(table.rows)
    return [f"### {title}\n\n{markdown(header, rows)}" for (title, header), rows in joined.items()]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
