"""The figures of a head on each split, as a table for the terminal."""

from collections.abc import Mapping

from services.cli import terminal

FIGURES = {
    "balanced_accuracy": "balanced accuracy",
    "map": "mAP",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "f1_at_3": "F1@3",
    "f1_at_5": "F1@5",
    "nll": "NLL",
    "ece": "ECE",
    "aurc": "AURC",
}
"""The columns, in this order. A head has the figures of its kind."""


def show_figures(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print the figures of every split, one row a split."""
    if not figures:
        return
    first = next(iter(figures.values()))
    names = [name for name in FIGURES if name in first]
    accuracy = ["accuracy (95 % interval)"] if "accuracy" in first else []
    rows = [
        (
            split,
            f"{found['rows']:,.0f}",
            *(_interval(found) for _ in accuracy),
            *(f"{found[name]:z.3f}" for name in names),
        )
        for split, found in figures.items()
    ]
    terminal.table(("split", "rows", *accuracy, *(FIGURES[name] for name in names)), rows)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['accuracy']:.3f} ({found['accuracy_low']:.3f} to {found['accuracy_high']:.3f})"
