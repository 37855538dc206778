"""The run of a comparison: all candidates on the same rows of one snapshot, then one test of the best candidate."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.compare.candidates import Candidate
from classifiers.compare.comparison import Command, Comparison
from classifiers.compare.curves import CurvePoint
from classifiers.compare.family import family_of
from classifiers.compare.held import HeldRows, bytes_of
from classifiers.compare.mistakes import worst_mistakes
from classifiers.compare.more_labels import winners_curve
from classifiers.compare.record import OUTCOMES, keep, save
from classifiers.compare.trial import Trial, examine
from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.memory import memory_kept
from classifiers.fit.gaussian.parallel import blas
from classifiers.fit.remembered import remembering
from classifiers.heads.base import Head
from classifiers.training.kinds import make_estimator
from classifiers.training.notes import fold_by_fold, why_folds
from classifiers.training.rows.rows import Rows, Texts
from store import Store

LARGE = 10**9
"""Number of bytes of rows above which the user is warned about the memory."""

Progress = Callable[[int, int, str], None]
"""A function that is called with (number of steps done, number of all steps, name of the current step)."""


def start(
    store: Store,
    folder: Path,
    *,
    task: str,
    encoders: Sequence[str],
    candidates: Sequence[Candidate],
    seed: int = 0,
    options: Sequence[str] = (),
    train_command: Command | None = None,
    texts: Texts | None = None,
) -> Comparison:
    """Return a new comparison in a new folder; no candidate has been tried yet.

    Args:
        candidates: candidates and their controls, see `with_controls`.
        seed: seed of the bootstrap. The fits themselves are deterministic.
        options: options of the caller, passed to `train_command` and kept on disk.
        train_command: writes the command that trains the winner, for the record and the report; None to leave it out.
        texts: function that embeds texts with an encoder, for candidates that need vectors of texts.

    Raises:
        UnknownTask, UnknownFeatures, UnknownKind, UnknownParameter: with the names that exist.
        NotTrainable: labels that no candidate can learn from, or no rows to choose on.
        FileExistsError: the folder exists.
    """
    if not encoders:
        raise NotTrainable("the store holds no vectors yet; embed its assets with an encoder first")
    rows = Rows(store, task, tuple(encoders), store.snapshot(), texts=texts)
    rows.blocks()  # raises for unknown encoders, before any work
    for candidate in candidates:
        if candidate.trainable:
            make_estimator(candidate.kind, candidate.params)
    classes = family_of(candidates).classes(rows)
    if not rows.validations():
        raise NotTrainable(
            f"task {task!r} has no rows in split 'val' that heads can learn, and only "
            f"{rows.labelled('train').num_rows} training rows, too few to hold some out, so heads cannot be compared; "
            "label more rows"
        )
    (folder / OUTCOMES).mkdir(parents=True)
    comparison = Comparison(folder, rows, classes, tuple(candidates), seed, tuple(options), train_command)
    save(comparison)
    return comparison


def run(comparison: Comparison, on_progress: Progress = lambda *_: None) -> None:
    """Try the candidates that were not tried yet, then measure the winner and its controls on test.

    BLAS uses one thread: threads that share two busy cores wait for each other, and the fits are many small products.
    If a candidate fails, the reason is recorded and the run goes on. Each finished candidate is written to disk at
    once, so nothing is lost if the run ends early.
    """
    with blas().limit(limits=1), memory_kept(), remembering():
        _run(comparison, Steps(comparison, on_progress))


def _run(comparison: Comparison, steps: "Steps") -> None:
    """Run with the threads of BLAS as they are."""
    try:
        comparison.state = "running"
        steps.next("reading rows")
        rows = HeldRows.read(comparison.rows, comparison.classes, ("train", "val"))
        comparison.notes = tuple(notes(comparison, rows))
        leading: tuple[str, Head] | None = None  # one head is kept, because learning it again may take long
        for candidate in comparison.candidates:
            steps.next(candidate.label)
            if candidate.label not in comparison.trials:
                head = attempt(comparison, candidate, rows)
                leads = (best := comparison.winner()) and best.candidate.label == candidate.label
                leading = (candidate.label, head) if leads and head else leading
        comparison.settle()
        for encoder in comparison.rows.encoders:
            steps.next(f"principal components of {encoder}")
            comparison.curves[encoder] = curve(comparison, rows.of([encoder]))
        steps.next("test rows")
        measure_test(comparison, rows, dict([leading] if leading else []))
        steps.next("done")
        comparison.state = "done"
    finally:
        if comparison.state != "done":
            comparison.state = "stopped"
        save(comparison)


class Steps:
    """A counter of the steps of a run, which reports each step."""

    def __init__(self, comparison: Comparison, on_progress: Progress) -> None:
        self.total = len(comparison.candidates) + len(comparison.rows.encoders) + 2
        self.done, self.on_progress = -1, on_progress

    def next(self, what: str) -> None:
        """Report that step `what` begins."""
        self.done += 1
        self.on_progress(self.done, self.total, what)


def attempt(comparison: Comparison, candidate: Candidate, rows: HeldRows) -> Head | None:
    """Try one candidate and record its result. Returns its head, or None if it failed."""
    comparison.failed.pop(candidate.label, None)
    try:
        own = rows.of(candidate.encoders)
        trial, head = examine(candidate, own, comparison.classes, comparison.seed, comparison.family)
        require_same_rows(comparison, trial.outcomes)
    except Exception as error:
        comparison.failed[candidate.label] = f"{type(error).__name__}: {error}"
        save(comparison)
        return None
    keep(comparison, trial)
    return head


def require_same_rows(comparison: Comparison, outcomes: Any) -> None:
    """Raise NotTrainable if a candidate was validated on other rows than the first candidate."""
    first, truth = next(iter(comparison.trials.values()), None), comparison.family.truth
    if first and not np.array_equal(truth(first.outcomes), truth(outcomes)):
        raise NotTrainable(
            f"validated on {len(outcomes)} rows, other candidates on {len(first.outcomes)}: it knows other classes"
        )


def curve(comparison: Comparison, rows: HeldRows) -> list[CurvePoint]:
    """Return the figure that ranks by the number of principal components; empty if it cannot be measured."""
    try:
        return comparison.family.curve(rows, comparison.classes)
    except NotTrainable:
        return []


def measure_test(comparison: Comparison, rows: HeldRows, heads: Mapping[str, Head]) -> None:
    """Measure the winner and its controls on the test rows, which nothing has read before.

    The winner's mistakes and learning curve are kept too; without test rows, those on the validation rows.

    Args:
        heads: calibrated heads by label; other heads are learned again.
    """

    family, classes = comparison.family, comparison.classes

    def head_of(trial: Trial) -> Head:
        kept = heads.get(trial.candidate.label)
        return kept or family.relearn(trial, rows.of(trial.candidate.encoders), classes)

    best = comparison.winner()
    if best is None:
        return
    head, own = head_of(best), rows.of(best.candidate.encoders)
    test = HeldRows.read(comparison.rows, classes, ("test",))
    has_test = len(test.held["test"].ids) > 0
    held, split = (test.of(best.candidate.encoders), "test") if has_test else (own, "val")
    comparison.mistakes = worst_mistakes(held, head, split)
    comparison.growth = winners_curve(best, head, own, held, split, classes, comparison.seed, family)
    if not has_test:
        return
    found = {best.candidate.label: family.outcomes_on(held, head, "test")}
    for trial in comparison.controls():
        found[trial.candidate.label] = family.outcomes_on(test.of(trial.candidate.encoders), head_of(trial), "test")
    for label, outcomes in found.items():
        known = comparison.trials[label].evaluation.classes
        comparison.test[label] = family.measure(outcomes, known, comparison.seed)
    pairs = {label: (outcomes, comparison.test[label]) for label, outcomes in found.items()}
    comparison.test_pairs = family.against(pairs.pop(best.candidate.label), pairs, comparison.seed)


def memory(rows: Rows) -> int:
    """Return the maximum number of bytes that a comparison's rows need at once; a fit may need as much again."""
    return bytes_of(rows, ("train", "val"))


def notes(comparison: Comparison, rows: HeldRows) -> Iterator[str]:
    """Yield notes for the readers of the figures."""
    for split, matrix in rows.held.items():
        if matrix.dropped:
            yield (
                f"{split}: {matrix.dropped} of {matrix.dropped + len(matrix.ids)} labelled rows have no vector of one "
                "of these encoders and are left out, for every candidate."
            )
    if comparison.validated_on != "val":
        how = fold_by_fold(comparison.rows)
        yield f"{why_folds(comparison.rows)}: all figures are measured on training rows that were held out, {how}."
    if not comparison.rows.labelled("test").num_rows:
        yield "No test rows: there are no figures on unseen rows."
