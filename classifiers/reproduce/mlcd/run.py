"""The reproduction of MLCD: every encoder in turn, then the tables, the pictures and what they say."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from classifiers.evaluation import plots
from classifiers.reproduce.mlcd import tables
from classifiers.reproduce.mlcd.findings import figures, findings, missing, recalls
from classifiers.reproduce.mlcd.leads import leads
from classifiers.reproduce.mlcd.plan import Request
from classifiers.reproduce.mlcd.published import PAPER
from classifiers.reproduce.mlcd.study import Found, OnStep, study
from classifiers.reproduce.mlcd.texts import Retrieved, retrieve
from classifiers.reproduce.paper import Picture, Reproduction, Table
from classifiers.training.rows.rows import Rows, Texts
from store import Store


def reproduce(
    store: Store,
    task: str,
    encoders: Sequence[str],
    request: Request,
    *,
    captions: str | None = None,
    texts: Texts | None = None,
    on_step: OnStep = lambda *_: None,
) -> Reproduction:
    """Return the paper's tables for the rows of a task, with the vectors of each encoder.

    Args:
        captions: name of a task whose labels are captions, one or several for each image; None for no retrieval.
        texts: function that embeds texts with an encoder, for zero-shot and retrieval.

    Raises:
        UnknownTask, UnknownFeatures: with the names that exist.
        NotTrainable, BadParameter: rows or values with which the experiment cannot be done.
    """
    snapshot, seed = store.snapshot(), request.recipe.seed
    retrieved: dict[str, Retrieved] = {}
    for name in encoders if captions else ():  # before the long part, because a task may be unknown
        if store.features(name).spec.text is not None:
            on_step(0, 1, f"{name}: retrieval")
            retrieved[name] = retrieve(Rows(store, str(captions), (name,), snapshot, texts=texts), seed)
    found = [study(Rows(store, task, (name,), snapshot, texts=texts), request, on_step) for name in encoders]
    led = [leads({name: tested.right for name, tested in each.tested.items()}, seed) for each in found]
    names = tuple(each.encoder for each in found)
    return Reproduction(
        paper=PAPER,
        task=task,
        encoders=names,
        snapshot=snapshot,
        settings=_settings(request, found, captions),
        tables=tuple(_tables(request, found, dict(zip(names, led, strict=True)), captions, retrieved)),
        findings=tuple(findings(found, led)),
        missing=tuple(missing(found, captions)),
        figures={
            "encoders": {each.encoder: figures(each, its) for each, its in zip(found, led, strict=True)},
            "retrieval": {name: recalls(one) for name, one in retrieved.items()},
        },
        pictures=tuple(_picture(number, each) for number, each in enumerate(found)),
    )


def _tables(
    request: Request,
    found: Sequence[Found],
    led: dict[str, tables.Leads],
    captions: str | None,
    retrieved: dict[str, Retrieved],
) -> Iterator[Table]:
    yield tables.test_figures(found)
    yield tables.claims(led)
    for name in request.ablations:
        yield tables.ablation(name, found)
    yield tables.clusters(found)
    if any(each.zero_shot for each in found):
        yield tables.zero_shot(found)
    if captions and retrieved:
        yield tables.retrieval(captions, retrieved)


def _settings(request: Request, found: Sequence[Found], captions: str | None) -> dict[str, Any]:
    """Return what was asked for, JSON-serialisable."""
    whose = "all tasks" if request.everything else "this task"
    return {
        **asdict(request.recipe),
        "seeds": request.seeds,
        "learned_from": f"{found[0].learned} training rows of {whose}, without their labels",
        "captions": captions,
    }


def _picture(number: int, found: Found) -> Picture:
    """Return the mean cosines with positive and negative centres by epoch, as in Fig. 3 of the paper."""
    lines = {}
    for loss in ("MLCD", "MLC"):
        curve = found.tested[loss].trials[0].space.curve
        lines[f"{loss}, positives"] = [epoch.positive for epoch in curve]
        lines[f"{loss}, negatives"] = [epoch.negative for epoch in curve]
    return Picture(
        f"cosines-{number}",
        plots.png(plots.by_epoch(lines, "mean cosine with centres")),
        f"Mean cosines of rows of {found.encoder} with their positive and negative centres in each epoch of training.",
        f"{found.encoder}: mean cosines with positive and negative centres by epoch, as in Fig. 3 of the paper, where "
        "MLCD raises the first and lowers the second compared with MLC.",
    )
