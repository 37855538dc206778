"""The command of each kind of job: its arguments, what of its output is the result, and the file that it makes.

Every value is one argument, ``--option=value``: no text of a request can become another option, and there is no shell.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.jobs.recorded import FILES
from services.web.schemas.jobs import (
    AnyJob,
    BackfillJob,
    ClusterJob,
    CompareJob,
    DuplicatesJob,
    IngestJob,
    LearningCurveJob,
    MistakesJob,
    PredictJob,
    SuggestJob,
    TrainJob,
)

Output = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """One kind of job.

    Attributes:
        arguments: function from (request, folder for files) to the arguments that only this kind has.
        kept: fields of the JSON that the command prints which are part of the result. Paths of the server are not.
        file: pattern of the file that the job makes, below its folder for files; empty if it makes none.
        places: fields of the request that name folders and files, which become `reads` of the job.
        tasks: fields of the request that name tasks which must exist.
        add: function from the output to further parts of the result.
    """

    arguments: Callable[[Any, Path], Iterator[str]]
    kept: Sequence[str]
    file: str = ""
    places: Sequence[str] = ()
    tasks: Sequence[str] = ("task",)
    add: Callable[[Output], Mapping[str, Any]] = lambda _: {}

    def line(self, request: AnyJob, files: Path, reads: Sequence[str]) -> list[str]:
        """Return the command line, without the name of the program.

        Args:
            files: folder for the files of the job.
            reads: whole paths of the `places` that the request names, in their order.
        """
        named = [place for place in self.places if getattr(request, place) is not None]
        whole = request.model_copy(update=dict(zip(named, reads, strict=True)))
        return [request.kind, *_switch("json"), *self.arguments(whole, files)]

    def result(self, output: Output) -> dict[str, Any]:
        """Return the result, from the JSON that the command printed."""
        return {name: output[name] for name in self.kept if name in output} | dict(self.add(output))


def _option(name: str, value: object) -> list[str]:
    return [] if value is None else [f"--{name}={value}"]


def _options(name: str, values: Iterable[object]) -> list[str]:
    return [f"--{name}={value}" for value in values]


def _switch(name: str, on: bool = True) -> list[str]:
    return [f"--{name}"] if on else []


def _ingest(request: IngestJob, _: Path) -> Iterator[str]:
    yield from _option("task", request.task)
    yield from _option("labels", request.labels_file)
    yield from _option("group", request.group)
    yield from _option("on-conflict", request.on_conflict)
    yield from _option("modality", request.modality)
    yield from _switch("reference", request.reference)
    yield from ("--", request.folder)


def _backfill(request: BackfillJob, _: Path) -> Iterator[str]:
    yield from _option("encoder", request.encoder)
    yield from _switch("tokens", request.tokens)
    yield from _switch("retry-quarantined", request.retry_quarantined)


def _train(request: TrainJob, _: Path) -> Iterator[str]:
    yield from _option("task", request.task)
    yield from _option("name", request.name)
    yield from _options("encoder", request.encoders)
    yield from _option("kind", request.head_kind)
    yield from _options("set", (f"{name}={json.dumps(value)}" for name, value in request.parameters.items()))
    yield from _option("seed", request.seed)


def _compare(request: CompareJob, files: Path) -> Iterator[str]:
    yield from _option("task", request.task)
    yield from _options("encoder", request.encoders)
    yield from _options("kind", request.head_kinds)
    yield from _option("seed", request.seed)
    yield from _option("folder", str(files))
    yield from _switch("names-only")


def _learning_curve(request: LearningCurveJob, _: Path) -> Iterator[str]:
    yield from _option("head", request.head)
    yield from _option("seed", request.seed)


def _predict(request: PredictJob, files: Path) -> Iterator[str]:
    yield from _option("head", request.head)
    yield from _option("task", request.task)
    yield from _option("top-k", request.top_k)
    yield from _option("coverage", request.coverage)
    yield from _option("sets", request.sets)
    yield from _switch("names-only")  # a file of predictions is no place for the folders of the server
    yield from _option("out", str(files / f"predictions.{request.format}"))
    if request.folder is not None:
        yield from ("--", request.folder)


def _duplicates(request: DuplicatesJob, files: Path) -> Iterator[str]:
    yield from _option("encoder", request.encoder)
    yield from _option("task", request.task)
    yield from _option("threshold", request.threshold)
    yield from _table(files, "duplicates")


def _mistakes(request: MistakesJob, files: Path) -> Iterator[str]:
    yield from _option("head", request.head)
    yield from _option("task", request.task)
    yield from _table(files, "mistakes")


def _suggest(request: SuggestJob, files: Path) -> Iterator[str]:
    yield from _option("head", request.head)
    yield from _option("task", request.task)
    yield from _option("encoder", request.encoder)
    yield from _option("count", request.count)
    yield from _option("seed", request.seed)
    yield from _table(files, "suggestions")


def _cluster(request: ClusterJob, files: Path) -> Iterator[str]:
    yield from _option("task", request.task)
    yield from _option("encoder", request.encoder)
    yield from _option("clusters", request.clusters)
    yield from _option("nearest", request.nearest)
    yield from _option("delta", request.delta)
    yield from _option("rows-of", request.rows_of)
    yield from _option("against", request.against)
    yield from _option("seed", request.seed)
    yield from _table(files, "clusters")


def _table(files: Path, name: str) -> Iterator[str]:
    """Yield the options for a file of all rows. It is no place for the folders of the server."""
    yield from _switch("names-only")
    yield from _option("out", str(files / f"{name}.jsonl"))


def _published(output: Output) -> Mapping[str, Any]:
    return {"head": f"{output['name']}@{output['version']}"} if {"name", "version"} <= output.keys() else {}


_CANDIDATE = ("rank", "label", "kind", "encoders", "parameters", "control", "state", "reason", "validation")


def _ranked(output: Output) -> Mapping[str, Any]:
    """Return the candidates, each with what a job of kind `train` needs to train it."""
    found = output.get("candidates", ())
    return {"candidates": [{name: each[name] for name in _CANDIDATE if name in each} for each in found]}


_COUNTED = ("quarantined", "reasons", "seconds")

COMMANDS: Mapping[str, Command] = {
    "ingest": Command(
        _ingest,
        ("new_assets", "known_assets", "labelled", "classes", "labels", "conflicts", "skipped", "warnings", *_COUNTED),
        places=("folder", "labels_file"),
        tasks=(),  # it may be a new one
    ),
    "backfill": Command(
        _backfill, ("encoder", "fingerprint", "missing", "embedded", "skipped", "items_per_second", *_COUNTED)
    ),
    "train": Command(
        _train,
        ("name", "version", "kind", "rows", "figures", "ood", "notes", "warnings"),
        add=_published,
    ),
    "compare": Command(
        _compare,
        ("task", "state", "validated_on", "winner", "smallest_alike", "notes", "encoders", "classes", "test"),
        file="*/report.html",
        add=_ranked,
    ),
    "learning-curve": Command(
        _learning_curve, ("head", "task", "split", "figure", "at_snapshot", "points", "held_out", "last", "next")
    ),
    "predict": Command(
        _predict,
        (
            *("head", "predicted", "without_a_vector", "with_a_truth", "agreement", "failed", "reasons", "seconds"),
            "resumed",
        ),
        file="predictions.*",
        places=("folder",),
    ),
    "duplicates": Command(
        _duplicates,
        (
            *("encoder", "task", "vectors", "without_a_vector", "threshold", "proposed", "pairs", "groups"),
            *("median_cosine_to_the_nearest", "across_splits", "different_labels", "held_out_rows_with_one_in_train"),
            *("assets_in_groups", "largest_group"),
        ),
        file="duplicates.jsonl",
    ),
    "mistakes": Command(
        _mistakes,
        ("head", "task", "judged", "disagree", "likely_wrong", "not_judged", "removed_since", "at_snapshot"),
        file="mistakes.jsonl",
    ),
    "suggest": Command(
        _suggest,
        ("task", "suggested", "unlabelled", "looked_at", "labelled"),
        file="suggestions.jsonl",
        tasks=(),  # it may be a new one
    ),
    "cluster": Command(
        _cluster,
        (
            *("task", "encoder", "clusters", "rows", "labels_a_row", "smallest_cluster", "median_cluster"),
            *("largest_cluster", "cosine_to_nearest", "cosine_between_centres_of_one_row", "against", "labelled_rows"),
            *("cosine_between_any_two_centres", "classes", "purity", "nmi", "notes", "seconds"),
        ),
        file="clusters.jsonl",
        tasks=("rows_of", "against"),
    ),
}
"""Kind of a job → its command."""


def file_of(kind: str, folder: Path) -> Path | None:
    """Return the file that a job in `folder` has made; None if it made none."""
    pattern = COMMANDS[kind].file
    return next(iter(sorted((folder / FILES).glob(pattern))), None) if pattern else None
