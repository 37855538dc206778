"""The output of `headwater compare`: the ranking, the test figures, two heads side by side, a command to train one."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from services.cli import terminal

if TYPE_CHECKING:
    from classifiers.compare.candidates import Candidate
    from classifiers.compare.comparison import Comparison
    from classifiers.compare.mistakes import Shown
    from classifiers.compare.trial import Trial
    from embedder.media import Limits
    from store import Store

SHOWN = 10
"""Heads in the summary, best first. The report has all of them."""

PHOTO_SIDE, PHOTOS_BYTES = 128, 150_000
"""Long side of a photo in the report, in pixels, and most bytes of all photos. More rows are shown by name."""


def shown_assets(store: "Store", limits: "Limits", ids: Sequence[str]) -> "dict[str, Shown]":
    """Return what the report shows of assets, by id: names without folders, and photos in small."""
    from classifiers.compare.mistakes import Shown

    stored, used = store.assets.described(ids), 0
    found = {id_: Shown(asset.uri.rpartition("/")[2]) for id_, asset in stored.items()}
    photos = [id_ for id_ in ids if id_ in stored and stored[id_].modality == "image"]
    for id_, data in store.assets.contents(photos):
        jpeg = b"" if isinstance(data, Exception) else _small(data, limits)
        if used + len(jpeg) <= PHOTOS_BYTES:
            found[id_] = Shown(found[id_].name, jpeg)
            used += len(jpeg)
    return found


def _small(data: bytes, limits: "Limits") -> bytes:
    """Return a photo as a small JPEG; nothing for a file that cannot be decoded."""
    from embedder.errors import BadMedia
    from services.classification.view.pictures import draw

    try:
        return draw(data, "image", PHOTO_SIDE, limits, reserve=lambda _: None).data
    except BadMedia:
        return b""


def train_command(candidate: "Candidate", task: str, options: Sequence[str] = ()) -> str:
    """Return the command line that trains and publishes a candidate; `options` are added unchanged."""
    from classifiers.compare.candidates import shown

    words = ["headwater", "train", "--task", task, "--name", head_name(task), "--kind", candidate.kind]
    for encoder in candidate.encoders:
        words += ["--encoder", encoder]
    for name, value in candidate.params.items():
        words += ["--set", f"{name}={shown(value)}"]
    return shlex.join([*words, *options])


def folder_name(task: str) -> str:
    """Return the name of a new folder for a report on a task: the task's name and the time."""
    return f"{head_name(task)}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"


def head_name(task: str) -> str:
    """Return the task's name without the characters that the name of a head may not have."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "-" for letter in task)
    return kept.strip("_-")[:64] or "head"


def show(comparison: "Comparison") -> None:
    """Print the ranking, the test figures of the winner and its controls, and the commands for the next step."""
    best, smaller = comparison.winner(), comparison.smallest_alike()
    ranked = comparison.ranking()
    controls = comparison.controls()
    shown = [(rank, trial) for rank, trial in enumerate(ranked, 1) if rank <= SHOWN or trial in controls]
    family = comparison.family
    figures = (f"{family.figure} (95 % interval)", *family.named_beside, "NLL", "ECE", "behind by")
    columns = (
        "rank",
        "head",
        "encoders",
        *figures,
        "parameters",
        "seconds",
    )
    terminal.table(
        columns,
        [(rank, *_row(comparison, trial)) for rank, trial in shown],
        f"Validation ({comparison.validated_on}):",
        explained=False,
    )
    if len(shown) < len(ranked):
        print(f"… and {len(ranked) - len(shown)} more in the report")
    pairs = comparison.test_pairs
    if comparison.test:
        terminal.table(
            ("head", *figures),
            [
                (
                    comparison.trials[label].candidate.title,
                    *_figures(comparison, found),
                    _behind(comparison, pairs.get(label)),
                )
                for label, found in comparison.test.items()
            ],
            f"Test, read once, {next(iter(comparison.test.values())).rows:,} rows:",
            explained=False,
        )
    terminal.explain((*columns, comparison.family.figure))
    for label, reason in comparison.failed.items():
        print(f"not ranked: {label}: {reason}")
    terminal.notes(comparison.notes)
    if best:
        print(f"train it:  {comparison.command(best)}")
    if smaller:
        print(f"These rows show no difference to a smaller head of {smaller.parameters:,} parameters:")
        print(f"           {comparison.command(smaller)}")
    print(f"report:    {comparison.folder / 'report.html'}")


def _row(comparison: "Comparison", trial: "Trial") -> tuple[str, ...]:
    behind = _behind(comparison, comparison.pairs.get(trial.candidate.label))
    size = (f"{trial.parameters:,}", f"{trial.seconds:.1f}")
    return (trial.candidate.title, trial.candidate.inputs, *_figures(comparison, trial.evaluation), behind, *size)


def _figures(comparison: "Comparison", found: Any) -> tuple[str, ...]:
    """Return accuracy or mAP with its interval, what stands beside it, NLL and ECE."""
    family = comparison.family
    low, high = family.interval(found)
    others = (*family.beside(found), found.nll, found.ece)
    return f"{family.value(found):.3f} ({low:.3f} to {high:.3f})", *(f"{each:.3f}" for each in others)


def _behind(comparison: "Comparison", pair: Any) -> str:
    """Return the points of accuracy or mAP behind the winner, with their 95 % interval."""
    if pair is None:
        return ""
    found = comparison.family.lead(pair)
    return f"{100 * found.mean:z.1f} ({100 * found.low:z.1f} to {100 * found.high:z.1f})"


def show_pair(comparison: "Comparison", asked: tuple[str, str], as_json: bool) -> None:
    """Print a paired bootstrap between any two heads, on the validation rows."""
    a, b, found = comparison.pair(*asked)
    named = {"A": a.candidate.label, "B": b.candidate.label, "rows": len(a.outcomes)}
    if as_json:
        print(json.dumps(named | asdict(found)))
        return
    nll, lead = found.nll, comparison.family.lead(found)
    more = "A is more accurate" if comparison.family.figure == "accuracy" else f"A has more {comparison.family.figure}"
    result = {
        f"{comparison.family.figure} A - B, points": _behind(comparison, found),
        f"resamplings in which {more}": f"{lead.better:.1%}",
        "NLL A - B": f"{nll.mean:z.4f} ({nll.low:z.4f} to {nll.high:z.4f})",
        "resamplings in which A has less NLL": f"{nll.better:.1%}",
    }
    terminal.show(named | result, as_json=False)
    print("An interval is the middle 95 % of the resamplings. If it contains 0, the difference may be chance.")
