"""The command that says what more labels would bring: learning-curve."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from services.cli import options, terminal
from services.cli.options import AcceptOption, HeadsOption, JsonOption, SeedOption, StoreOption, TrustOption
from services.cli.reviews import HeadOption

if TYPE_CHECKING:
    from classifiers.training.growth import Growth

app = typer.Typer()


@app.command("learning-curve")
def learning_curve(
    head: HeadOption,
    seed: SeedOption = 0,
    accept_noncommercial: AcceptOption = None,
    trust_checkpoint: TrustOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how good a head is by the number of labelled rows that it learns from, and what more labels would bring.

    Heads like this one learn from parts of its training rows, and all are measured on the same test rows (or, without
    test rows, on those of val). Nothing is published.
    """
    from classifiers.published.registry import Registry
    from classifiers.training.growth import grow
    from services.jobs.progress import Step
    from services.jobs.texts import text_sides

    settings = options.settings(
        store=store, heads=heads, accept_noncommercial=accept_noncommercial, trust_checkpoint=trust_checkpoint
    )
    opened, published = options.open_store(settings), Registry(settings.heads).load(head)
    with terminal.progress_bar("learning-curve") as bar, terminal.stopping_on_sigterm():
        found = grow(
            opened,
            published,
            seed=seed,
            texts=text_sides(opened, settings),
            on_head=lambda done, total: bar(Step(done, total, "heads trained")),
        )
    curve = found.curve
    result = {
        "head": f"{published.name}@{published.version}",
        "task": published.manifest.task,
        "split": found.split,
        "figure": found.figure,
        "at_snapshot": found.at_snapshot,
        **curve.to_dict(),
    }
    if as_json:
        terminal.show(result, as_json=True)
        return
    terminal.table(
        ("training rows", found.figure, "95 % interval"),
        [(f"{each.rows:,}", f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}") for each in curve.points],
        f"{result['head']}, measured on {curve.held_out:,} rows of {found.split}:",
    )
    terminal.notes(_notes(found))


def _notes(found: "Growth") -> Iterator[str]:
    curve, right = found.curve, "right answers" if found.figure == "accuracy" else "points of F1"
    before, now = curve.points[-2:]
    last = curve.last
    yield (
        f"from {before.rows:,} to {now.rows:,} training rows: {100 * last.mean:+z.1f} {right} in 100 "
        f"({100 * last.low:+z.1f} to {100 * last.high:+z.1f}); if the interval contains 0, it may be chance"
    )
    if curve.next:
        yield (
            f"with {2 * now.rows:,} training rows, probably about {100 * curve.next.mean:+z.1f} {right} in 100 "
            f"({100 * curve.next.low:+z.1f} to {100 * curve.next.high:+z.1f}), if the curve goes on like this"
        )
    else:
        yield "the curve is too uneven or too flat to say what more labels would bring"
    if not found.at_snapshot:
        yield "the rows that the head learned from cannot be read any more, so heads learned from the rows of today"
