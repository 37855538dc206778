"""What the figures say, in sentences: also where they contradict the papers."""

from collections.abc import Iterator

from classifiers.evaluation.percentages import percent, points
from classifiers.reproduce.backbones.figures import Figure, Figures
from classifiers.reproduce.backbones.rules import CONTROLS, NLC, STACK, WITHOUT_LABELS
from classifiers.reproduce.backbones.tables import best_of, named

PRINTED = {
    "zero-shot": "the paper: +9.1 on average of 21 data sets",
    "linear probes": "the paper: +1.6 on average of 21 data sets, as for the Super Learner",
}
"""The published gain of NLC in each regime."""

LITTLE = 0.005
"""Difference of accuracy that counts as none, if the interval allows it: half a point."""


def findings(found: Figures, unit: str) -> tuple[str, ...]:
    """Return the findings of one regime; `unit` is that of the costs."""
    sentences = (_normalising(found), _gap(found), _reached(found), _unlearned(found), _stacking(found))
    return tuple(named(found, each) for each in (*sentences, *_control(found), _classes(found), _cost(found, unit)))


def _normalising(found: Figures) -> str:
    changed = [name for name, gain in zip(found.backbones, found.normalising, strict=True) if not gain.by_chance]
    other, fused = found.representations
    return (
        f"the step from {other} to {fused} changes the accuracy of {', '.join(changed) or 'no backbone'} by more than "
        "chance."
    )


def _gap(found: Figures) -> str:
    said = f"the oracle is {points(found.gap)} points above the best single backbone"
    if found.refits is None or found.beyond_refits is None:
        far = found.shuffled - found.oracle.mean
        return f"{said}; if the backbones failed independently, it would be {percent(far)} points higher still."
    said += f", that of refits of one backbone {points(found.refits)}"
    if found.beyond_refits.by_chance or found.beyond_refits.mean < 0:
        return f"{said}. So the gap does not show that the backbones know different things."
    return f"{said}. So {points(found.beyond_refits)} points of the gap are due to differences of the backbones."


def _reached(found: Figures) -> str:
    gain = found.boosts[NLC]
    share = f", {gain.mean / found.gap.mean:.0%} of the oracle's gap" if gain.mean > 0 and found.gap.mean > 0 else ""
    return (
        f"{NLC} gains {points(gain)} points over the best single backbone{share}; {_verdict(gain)} "
        f"({PRINTED[found.regime]})."
    )


def _verdict(gain: Figure) -> str:
    if gain.by_chance:
        return "the interval contains 0, so it may be chance"
    return "more than chance" if gain.mean > 0 else "it loses more than chance"


def _unlearned(found: Figures) -> str:
    gains = [found.boosts[name] for name in WITHOUT_LABELS]
    low, high = (pick(100 * gain.mean for gain in gains) for pick in (min, max))
    near = sum(gain.by_chance for gain in gains)
    printed = "" if found.trained else " (the paper: about 0)"
    return (
        f"rules that read no label gain {low:+z.1f} to {high:+z.1f} points; {near} of {len(gains)} intervals contain 0"
        f"{printed}."
    )


def _stacking(found: Figures) -> str:
    gain = found.beyond_stacking
    if gain.by_chance or abs(gain.mean) <= LITTLE:
        verdict = f"static stacking does as well as {NLC}"
    else:
        verdict = f"{NLC} is better than static stacking" if gain.mean > 0 else f"{NLC} is worse than static stacking"
    return f"{verdict}: {STACK} gains {points(found.boosts[STACK])}, and {NLC} minus {STACK} is {points(gain)} points."


def _control(found: Figures) -> Iterator[str]:
    """Yield what one head on all backbones gains, if any could learn."""
    gains = [f"{name.split()[-1]} {points(found.boosts[name])}" for name in CONTROLS if name in found.boosts]
    if gains:
        rows = "all training rows" if found.trained else "the rows on which the rules are fitted"
        yield f"one head on all backbones side by side, learned from {rows}, gains: {', '.join(gains)} points."


def _classes(found: Figures) -> str:
    best = [best_of(found, each) for each in found.classes]
    counts = ", ".join(f"{name} in {sum(each == [name] for each in best)}" for name in found.backbones)
    return f"of {len(best)} classes, one backbone alone is best: {counts}."


def _cost(found: Figures, unit: str) -> str:
    """Return how many of the cheapest backbones are better than the best single one, and at what cost."""
    single = f"the best single one {percent(found.single.mean)} % for {found.single_cost:.4g}"
    for count, gain in enumerate(found.prefix_gains[NLC], 1):
        if gain.low > 0:
            own, spent = found.prefixes[NLC][count - 1], found.spent[count - 1]
            return f"the {count} cheapest with {NLC} have {percent(own.mean)} % for {spent:.4g} {unit}, {single}."
    return f"no number of the cheapest backbones with {NLC} is better than the best single one by more than chance."
