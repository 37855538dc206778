"""The chart of accuracy against cost."""

import numpy as np

from classifiers.evaluation import plots
from classifiers.evaluation.html import Picture
from classifiers.evaluation.percentages import percent
from classifiers.reproduce.backbones.figures import Figures
from classifiers.reproduce.backbones.tables import named


def picture(found: Figures, unit: str) -> Picture:
    """Return the chart of the accuracy of one regime against the cost."""
    lines = {
        rule: [(cost, each.mean, each.low, each.high) for cost, each in zip(found.spent, prefix, strict=True)]
        for rule, prefix in found.prefixes.items()
    }
    costs = np.diff(found.spent, prepend=0.0).tolist()
    alone = {name: (cost, each.mean) for name, cost, each in zip(found.backbones, costs, found.alone, strict=True)}
    ends = "; ".join(f"{rule} from {percent(line[0][1])} to {percent(line[-1][1])} %" for rule, line in lines.items())
    return Picture(
        f"cost-{found.regime.replace(' ', '-')}",
        plots.png(plots.accuracy_by_cost(lines, alone, unit)),
        text=named(found, f"accuracy from the cheapest backbone to all of them: {ends}."),
        caption=named(
            found,
            "accuracy on test rows against the cost of an image, from the cheapest backbone to all, with 95 % "
            "intervals. Crosses are single backbones.",
        ),
    )
