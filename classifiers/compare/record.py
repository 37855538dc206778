"""A comparison on disk: `compare.json` for readers, and the outcomes of each candidate, from which a run continues."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from classifiers.compare.candidates import Candidate
from classifiers.compare.comparison import Command, Comparison
from classifiers.compare.trial import Trial
from classifiers.errors import BadComparison
from classifiers.training.rows.rows import Rows, Texts
from store import Snapshot, Store

FORMAT = 1
RECORD, OUTCOMES = "compare.json", "outcomes"


def save(comparison: Comparison) -> None:
    """Write `compare.json` atomically, so that readers never see a part of it."""
    partial = comparison.folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(to_record(comparison), indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(comparison.folder / RECORD)


def keep(comparison: Comparison, trial: Trial) -> None:
    """Add a trial to the disk and to the comparison.

    The outcomes come first: a run that is stopped here writes its record without this trial.
    """
    path = outcomes_path(comparison.folder, comparison.candidates.index(trial.candidate))
    comparison.family.save(path, trial.outcomes)
    comparison.trials[trial.candidate.label] = trial
    save(comparison)


def outcomes_path(folder: Path, number: int) -> Path:
    """Return the file with the outcomes of the candidate with this number."""
    return folder / OUTCOMES / f"{number}.npz"


def to_record(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON-able values: candidates by rank, then those that failed or were not tried yet."""
    best, smaller = comparison.winner(), comparison.smallest_alike()
    ranks = {trial.candidate.label: rank for rank, trial in enumerate(comparison.ranking(), 1)}
    numbered = sorted(
        enumerate(comparison.candidates), key=lambda each: (ranks.get(each[1].label, len(ranks) + 1), each[0])
    )
    return {
        "format": FORMAT,
        "task": comparison.rows.task,
        "state": comparison.state,
        "validated_on": comparison.validated_on,
        "winner": best.candidate.label if best else None,
        "command": comparison.command(best) or None,
        "smallest_alike": smaller.candidate.label if smaller else None,
        "notes": list(comparison.notes),
        "candidates": [candidate_record(comparison, number, candidate, ranks) for number, candidate in numbered],
        "test": {label: evaluation.summary() for label, evaluation in comparison.test.items()},
        "test_pairs": {label: asdict(pair) for label, pair in comparison.test_pairs.items()},
        "mistakes": [asdict(each) for each in comparison.mistakes],
        "learning_curve": comparison.growth.to_dict() if comparison.growth else None,
        "pca": {
            encoder: [
                {"share": each.share, "components": each.components, comparison.family.figure: each.value}
                for each in points
            ]
            for encoder, points in comparison.curves.items()
        },
        "encoders": list(comparison.rows.encoders),
        "classes": list(comparison.classes),
        "seed": comparison.seed,
        "options": list(comparison.options),
        "snapshot": json.loads(comparison.rows.snapshot.to_json()),
    }


def candidate_record(
    comparison: Comparison, number: int, candidate: Candidate, ranks: Mapping[str, int]
) -> dict[str, Any]:
    """Return one candidate as JSON-able values."""
    label = candidate.label
    record = {
        "rank": ranks.get(label),
        "label": label,
        "kind": candidate.kind,
        "encoders": list(candidate.encoders),
        "parameters": dict(candidate.params),
        "control": candidate.control or None,
        "number": number,
        "state": "failed" if label in comparison.failed else "waiting",
        "reason": comparison.failed.get(label),
    }
    if (trial := comparison.trials.get(label)) is None:
        return record
    return record | {
        "state": "done",
        "validation": trial.evaluation.summary(),
        "behind_winner": asdict(comparison.pairs[label]) if label in comparison.pairs else None,
        "parameter_count": trial.parameters,
        "seconds": round(trial.seconds, 3),
        "temperature": trial.temperature,
        "classes": list(trial.evaluation.classes),
        "settings": dict(trial.settings),
    }


def load(store: Store, folder: Path, texts: Texts | None = None, train_command: Command | None = None) -> Comparison:
    """Return a comparison to continue. Candidates that failed will be tried again. Raises BadComparison."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}; this version reads {FORMAT}")
        entries = sorted(record["candidates"], key=lambda entry: int(entry["number"]))
        comparison = Comparison(
            folder,
            Rows(
                store,
                record["task"],
                tuple(record["encoders"]),
                Snapshot.from_json(json.dumps(record["snapshot"])),
                texts=texts,
            ),
            tuple(record["classes"]),
            tuple(
                Candidate(each["kind"], tuple(each["encoders"]), each["parameters"], each["control"] or "")
                for each in entries
            ),
            seed=record["seed"],
            options=tuple(record["options"]),
            train_command=train_command,
            notes=tuple(record["notes"]),
            state=record["state"],
        )
        for number, entry in enumerate(entries):
            if entry["state"] == "done":
                trial = restored(comparison, number, entry)
                comparison.trials[trial.candidate.label] = trial
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadComparison(folder, f"{type(error).__name__}: {error}") from error
    return comparison


def restored(comparison: Comparison, number: int, entry: Mapping[str, Any]) -> Trial:
    """Return a finished trial from its entry and its outcomes on disk."""
    family = comparison.family
    outcomes = family.load(outcomes_path(comparison.folder, number))
    return Trial(
        comparison.candidates[number],
        outcomes,
        family.measure(outcomes, tuple(entry["classes"]), comparison.seed),
        entry["temperature"],
        entry["parameter_count"],
        entry["seconds"],
        entry["settings"],
    )
