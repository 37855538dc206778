"""What the figures say, in sentences, beside what the paper claims."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from classifiers.reproduce.clip_decoder.entrants import (
    ALIGNED,
    BANK,
    BILINEAR,
    CAPTIONED,
    CHANCE,
    COSINE,
    GROUPS,
    LABELWISE,
    PLAIN,
)
from classifiers.reproduce.clip_decoder.figures import MAP, Figures, Lead
from classifiers.reproduce.clip_decoder.study import CLOSED, GZSL, ZSL

Summary = Mapping[str, Mapping[str, Figures]]
"""Figures by mode, then by the name of the head."""

MODES = {
    ZSL: "unseen labels among themselves (ZSL)",
    GZSL: "seen and unseen labels together (GZSL)",
    CLOSED: "all labels trained (closed set)",
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Head `first` is better than head `second`; `paper` is what the paper says of it, by mode."""

    first: str
    second: str
    modes: tuple[str, ...] = (ZSL, GZSL)
    paper: Mapping[str, str] | None = None


CLAIMS = (
    Claim(
        ALIGNED,
        PLAIN,
        paper={
            ZSL: "+3.9 points over the best method before it",
            GZSL: "+2.3 points over the best method before it",
        },
    ),
    Claim(ALIGNED, COSINE),
    Claim(ALIGNED, BILINEAR),
    Claim(CAPTIONED, ALIGNED),
    Claim(BANK, ALIGNED),
    Claim(BANK, COSINE),
    Claim(BILINEAR, COSINE),
    Claim(ALIGNED, LABELWISE, (CLOSED,)),
    Claim(PLAIN, GROUPS, (CLOSED,)),
    Claim(BANK, LABELWISE, (CLOSED,)),
)


def findings(summary: Summary) -> Iterator[str]:
    """Yield the best head of each mode, then what the rows say of each claim."""
    yield from (best_of(mode, heads) for mode, heads in summary.items())
    yield from (said(mode, claim, lead) for mode, claim, lead in measured(summary))


def best_of(mode: str, heads: Mapping[str, Figures]) -> str:
    """Return which head has the highest mAP in a mode."""
    value = {name: figures[MAP].value for name, figures in heads.items()}
    best = max((name for name in value if name != CHANCE), key=value.__getitem__)
    return f"Best mAP on {MODES[mode]}: {best}, {value[best]:.3f}; chance is {value[CHANCE]:.3f}."


def measured(summary: Summary) -> Iterator[tuple[str, Claim, Lead]]:
    """Yield each claim whose two heads were measured in a mode, and the difference in mAP."""
    for mode, heads in summary.items():
        for claim in CLAIMS:
            if mode in claim.modes and {claim.first, claim.second} <= heads.keys():
                yield mode, claim, heads[claim.first][MAP].lead(heads[claim.second][MAP])


def said(mode: str, claim: Claim, lead: Lead) -> str:
    """Return what the rows say of a claim, and the paper's figure if it has one."""
    verb = "is better than" if lead.found.mean > 0 else "is worse than"
    verdict = verb if lead.sure else "shows no sure difference to"
    found = lead.found
    across = f"; ahead in {lead.ahead} of {lead.draws} draws of the labels" if lead.draws > 1 else ""
    text = (
        f"On {MODES[mode]}, {named(claim.first)} {verdict} {named(claim.second)}: {100 * found.mean:+.1f} points of "
        f"mAP (95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}{across})."
    )
    return f"{text} The paper, on NUS-WIDE: {claim.paper[mode]}." if claim.paper else text


def named(head: str) -> str:
    """Return a head as the subject or object of a sentence."""
    return head if head == LABELWISE else f"the {head}"


def leads(summary: Summary) -> list[dict[str, object]]:
    """Return the difference in mAP of every claim for programs, in 0…1."""
    return [
        {
            "mode": mode,
            "first": claim.first,
            "second": claim.second,
            "map": lead.found.mean,
            "low": lead.found.low,
            "high": lead.found.high,
            "ahead": lead.ahead,
            "draws": lead.draws,
        }
        for mode, claim, lead in measured(summary)
    ]
