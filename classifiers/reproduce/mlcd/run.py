"""The reproduction of MLCD: every encoder in turn, then the tables, the pictures and what they say."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from classifiers.evaluation import plots
from classifiers.evaluation.html import Picture
from classifiers.reproduce.mlcd import tables
from classifiers.reproduce.mlcd.findings import figures, findings, missing, recalls
from classifiers.reproduce.mlcd.leads import leads
from classifiers.reproduce.mlcd.plan import Request
from classifiers.reproduce.mlcd.published import PAPER
from classifiers.reproduce.mlcd.study import Found, OnStep, study
from classifiers.reproduce.mlcd.texts import Retrieved, retrieve
from classifiers.reproduce.paper import Reproduction, Table
from classifiers.training.rows.rows import Rows, Texts
from store import Snapshot, Store


@dataclass
class Run:
    """The experiment on one or several encoders, one after the other.

    Attributes:
        encoders: names or fingerprints.
        captions: name of a task whose labels are captions, one or several for each image; None for no retrieval.
        texts: function that embeds texts with an encoder, for zero-shot and retrieval.
        found: what was found so far, one for each encoder that is finished.
        retrieved: recall by encoder.
    """

    store: Store
    task: str
    encoders: Sequence[str]
    request: Request
    captions: str | None = None
    texts: Texts | None = None
    found: list[Found] = field(default_factory=list)
    retrieved: dict[str, Retrieved] = field(default_factory=dict)

    @cached_property
    def snapshot(self) -> Snapshot:
        return self.store.snapshot()

    def all(self, on_step: OnStep = lambda *_: None) -> None:
        """Run everything.

        Raises:
            UnknownTask, UnknownFeatures: with the names that exist.
            NotTrainable, BadParameter: rows or values with which the experiment cannot be done.
        """
        for name in self.encoders if self.captions else ():  # before the long part, because a task may be unknown
            features = self.store.features(name)
            if features.spec.text is not None:
                on_step(0, 1, f"{features.name}: retrieval")
                rows = self._rows(str(self.captions), name)
                self.retrieved[features.name] = retrieve(rows, self.request.recipe.seed)
        for name in self.encoders:
            self.found.append(study(self._rows(self.task, name), self.request, on_step))

    def _rows(self, task: str, encoder: str) -> Rows:
        return Rows(self.store, task, (encoder,), self.snapshot, texts=self.texts)

    def reproduction(self) -> Reproduction:
        """Return the tables of the encoders that are finished, at least one."""
        found, led = self.found, [leads(each.outcomes, self.request.recipe.seed) for each in self.found]
        names = tuple(each.encoder for each in found)
        return Reproduction(
            paper=PAPER,
            task=self.task,
            encoders=names,
            snapshot=self.snapshot,
            settings=_settings(self.request, found, self.captions),
            tables=tuple(
                _tables(self.request, found, dict(zip(names, led, strict=True)), self.captions, self.retrieved)
            ),
            findings=tuple(findings(found, led)),
            missing=tuple(missing(found, self.captions, self.encoders[len(found) :])),
            figures={
                "encoders": {each.encoder: figures(each, its) for each, its in zip(found, led, strict=True)},
                "retrieval": {name: recalls(one) for name, one in self.retrieved.items()},
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
    yield tables.claims(led, found[0].figure)
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
        text=f"Mean cosines of rows of {found.encoder} with their positive and negative centres in each epoch of "
        "training.",
        caption=f"{found.encoder}: mean cosines with positive and negative centres by epoch, as in Fig. 3 of the "
        "paper, where MLCD raises the first and lowers the second compared with MLC.",
    )
