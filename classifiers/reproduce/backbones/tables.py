"""The tables of one regime."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from classifiers.evaluation.percentages import percent, points
from classifiers.reproduce.backbones.figures import ClassFigures, Figure, Figures
from classifiers.reproduce.backbones.rules import CASCADE, NLC, STACK, WITHOUT_LABELS
from classifiers.reproduce.paper import Table

INTERVAL = "95 % interval"
MOST_SUBSETS = 4
"""Maximum number of backbones of which every set is a row of the table on who is right; more are shown by count."""

MOST_CLASSES = 15
"""Maximum number of classes in the table of classes."""

INTERVALS = (
    "The 95 % intervals are over resampled test rows. ± is the standard deviation over the draws of the rows on which "
    "the rules are fitted."
)


def tables(found: Figures, unit: str) -> tuple[Table, ...]:
    """Return the tables of one regime; `unit` is that of the costs."""
    made = (_alone(found), _rules(found), _oracle(found), _pairs(found), _right(found), _classes(found))
    return (*made, _prefixes(found, unit))


def interval(figure: Figure) -> str:
    return f"{percent(figure.low)} to {percent(figure.high)}"


def deviation(figure: Figure) -> str:
    return f"± {percent(figure.deviation)}"


def named(found: Figures, title: str) -> str:
    """Return the title of a table with the regime in front."""
    return f"{found.regime[0].upper()}{found.regime[1:]}: {title}"


def _alone(found: Figures) -> Table:
    other, fused = found.representations
    each = zip(found.backbones, found.plain, found.alone, found.normalising, found.chosen, strict=True)
    rows = [
        (name, percent(plain.mean), percent(alone.mean), interval(alone), deviation(alone), points(gain), str(chosen))
        for name, plain, alone, gain, chosen in each
    ]
    return Table(
        named(found, f"each backbone alone, accuracy in % on {found.test_rows:,} test rows"),
        (
            "backbone",
            f"={other}",
            f"={fused}",
            f"={INTERVAL}",
            "=± over draws",
            "=second minus first",
            "=best single in draws",
        ),
        tuple(rows),
        (
            found.about,
            INTERVALS,
            "The best single backbone is chosen anew in each draw, by its accuracy on the "
            f"{found.rule_rows:,} rows on which the rules are fitted.",
        ),
        best=int(np.argmax([each.mean for each in found.alone])),
    )


def _rules(found: Figures) -> Table:
    best = max(found.rules, key=lambda name: found.rules[name].mean)
    rows = [
        (name, percent(figure.mean), interval(figure), points(gain), deviation(gain))
        for name, figure, gain in ((name, found.rules[name], found.boosts[name]) for name in found.rules)
    ]
    single = ("best single backbone", percent(found.single.mean), interval(found.single), "", "")
    return Table(
        named(found, "every rule, accuracy in %"),
        ("rule", "=accuracy", f"={INTERVAL}", "=minus best single", "=± over draws"),
        (single, *rows),
        (
            f"{', '.join(WITHOUT_LABELS)} read no label; their calibrated versions and the rules below them are fitted "
            f"on {found.rule_rows:,} rows that no backbone learned from. {_controls(found)}",
        ),
        best=1 + list(found.rules).index(best),
    )


def _controls(found: Figures) -> str:
    learned = "all training rows" if found.trained else "only the rows on which the rules are fitted"
    return f"Side by side: one head on the vectors of all backbones, learned from {learned}."


def _oracle(found: Figures) -> Table:
    rows = [
        ("best single backbone", percent(found.single.mean), ""),
        ("oracle: a row counts as right if any backbone is right", percent(found.oracle.mean), points(found.gap)),
        ("oracle if the errors were independent", percent(found.shuffled), _plain(found.shuffled - found.single.mean)),
    ]
    if found.refits is not None:
        oracle = found.single.mean + found.refits.mean
        rows.append((f"oracle of {len(found.backbones)} refits of one backbone", percent(oracle), points(found.refits)))
    return Table(
        named(found, "the oracle and its controls, in %"),
        ("answer", "=accuracy", "=minus best single"),
        tuple(rows),
        (
            "Independent: the right answers of each backbone are shuffled among the rows of a class. Any set of weak "
            "members has a high oracle. Refits learn from rows drawn with replacement.",
        ),
    )


def _plain(gain: float) -> str:
    return f"{100 * gain:+z.1f}"


def _pairs(found: Figures) -> Table:
    rows = tuple(
        (f"{a}, {b}", percent(pair.disagreement), f"{pair.q:.2f}") for pair in found.pairs for a, b in [pair.names]
    )
    return Table(
        named(found, "how different two backbones are"),
        ("backbones", "=disagree on, %", "=Q statistic"),
        rows,
        ("Yule's Q is 1 if both fail on the same rows, 0 if they fail independently, -1 if they never fail together.",),
    )


def _right(found: Figures) -> Table:
    few = len(found.backbones) <= MOST_SUBSETS
    rows = [(name, f"{rows:.1f}", percent(rows / found.test_rows)) for name, rows in (_sets if few else _counts)(found)]
    return Table(
        named(found, "who is right, mean over the draws"),
        ("right are", "=test rows", "=%"),
        tuple(rows),
    )


def _sets(found: Figures) -> Iterator[tuple[str, float]]:
    """Yield the test rows on which exactly some backbones are right: all of them, then fewer."""
    for who, rows in sorted(found.right, key=lambda each: (-len(each[0]), each[0])):
        yield _who(found, who), rows


def _who(found: Figures, who: Sequence[int]) -> str:
    if len(who) == len(found.backbones):
        return "all"
    return ", ".join(found.backbones[b] for b in who) or "none"


def _counts(found: Figures) -> Iterator[tuple[str, float]]:
    """Yield the test rows on which exactly k backbones are right, with the most frequent set of k backbones."""
    by_count = sorted(found.right, key=lambda each: (-len(each[0]), -each[1]))
    for count, each in groupby(by_count, key=lambda each: len(each[0])):
        sets = list(each)
        most = f", mostly {_who(found, sets[0][0])}" if 0 < count < len(found.backbones) else ""
        yield f"{count} of {len(found.backbones)}{most}", sum(rows for _, rows in sets)


def _classes(found: Figures) -> Table:
    chosen = sorted(found.classes, key=_apart, reverse=True)[:MOST_CLASSES]
    rows = [
        (each.name, f"{each.rows:,}", *map(percent, each.accuracy), ", ".join(best_of(found, each))) for each in chosen
    ]
    some = f", the {len(rows)} classes with the largest differences" if len(rows) < len(found.classes) else ""
    return Table(
        named(found, f"accuracy in % by class{some}"),
        ("class", "=test rows", *(f"={name}" for name in found.backbones), "best"),
        tuple(rows),
    )


def _apart(each: ClassFigures) -> float:
    return max(each.accuracy) - min(each.accuracy)


def best_of(found: Figures, each: ClassFigures) -> list[str]:
    """Return the backbones that are best on a class; several if they are equal, none if all are."""
    if _apart(each) == 0:
        return []
    return [name for name, value in zip(found.backbones, each.accuracy, strict=True) if value == max(each.accuracy)]


def _prefixes(found: Figures, unit: str) -> Table:
    rows = []
    for count, spent in enumerate(found.spent, 1):
        nlc, stack = (found.prefixes[rule][count - 1] for rule in (NLC, STACK))
        rows.append(
            (" + ".join(found.backbones[:count]), f"{spent:.4g}", percent(nlc.mean), interval(nlc), percent(stack.mean))
        )
    cascade = found.rules[CASCADE]
    rows.append((CASCADE, f"{found.cascade_cost:.4g}", percent(cascade.mean), interval(cascade), ""))
    return Table(
        named(found, "from the cheapest backbone to all, accuracy in %"),
        ("backbones", f"=cost, {unit}", f"={NLC}", f"={INTERVAL}", f"={STACK}"),
        tuple(rows),
        (
            f"Each row has an {NLC} and a {STACK} of its own. The cascade calls the next backbone only for rows on "
            "which the ones before are uncertain; its cost is the mean of the test rows.",
        ),
    )
