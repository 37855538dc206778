"""The result of a study: the paper's tables for this store, what they say, and what could not be measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from classifiers.reproduce.clip_decoder.captions import LEAK
from classifiers.reproduce.clip_decoder.entrants import CAPTIONED, CHANCE
from classifiers.reproduce.clip_decoder.figures import KS, MAP, Figure, Figures
from classifiers.reproduce.clip_decoder.findings import Summary, findings, leads
from classifiers.reproduce.clip_decoder.published import PAPER
from classifiers.reproduce.clip_decoder.study import CLOSED, GZSL, ZSL, Study, Trial, winners
from classifiers.reproduce.paper import Reproduction, Table

TITLES = {
    ZSL: "Zero-shot (ZSL): unseen labels, scored among themselves",
    GZSL: "Generalised zero-shot (GZSL): unseen and seen labels, scored together",
    CLOSED: "Closed set: all labels trained",
}
SHOWN = {MAP: "mAP", **dict(zip(KS, ("F1@3", "F1@5"), strict=True))}

MEANING = (
    "mAP: mean over the labels of the average precision over the test rows. F1@k: F1 of all decisions together if the "
    "k best labels of every row are predicted; rows without a label count too.",
    "In brackets: 95 % bootstrap interval over test rows. ±: standard deviation over the draws of the labels.",
)
NO_LEAK = (
    "Heads learn from training rows with a seen label. The unseen labels of these rows are cut out of the truth and of "
    "the texts that they are aligned to; the authors' sentences have all tags of an image, also unseen ones."
)
CHOSEN = (
    "An aligned decoder has the α with the highest mAP of the seen labels on training rows that are held out, chosen "
    "for each draw of the labels. The loss of the bilinear head is chosen by seen labels that are held "
    "out as if they were unseen; in the closed set, by held-out rows."
)
HELD_OUT = (
    "Means over the draws of the labels. α is chosen by the held-out mAP of the seen labels. The other two columns are "
    "figures on test rows, and nothing is chosen by them."
)
FEW = "F1@{} has no figure, because there are no more labels than that: every head would predict all of them."
STOPPED = "The run was stopped after {} of {} draws of the labels; the closed set was not measured."


def reproduction(study: Study) -> Reproduction:
    """Return what a study has measured so far; at least one draw of the labels is finished."""
    plan, summary = study.plan, summarised(study)
    return Reproduction(
        paper=PAPER,
        task=study.rows.task,
        encoders=tuple(features.name for features in study.rows.features),
        snapshot=study.rows.snapshot,
        settings={
            **plan.told,
            "labels": len(study.names),
            "unseen": len(plan.draws[0].unseen),
            "draws": len(plan.draws),
            "training_rows": len(study.train.ids),
            "test_rows": len(study.test.ids),
            "alphas": list(plan.alphas),
            "decoder": dict(plan.params),
            "captions": plan.captions,
            "seed": plan.seed,
        },
        tables=tuple(tables(study, summary)),
        findings=tuple(findings(summary)),
        missing=tuple(missing(study)),
        figures={
            "summary": {
                mode: {
                    head: {name: each.to_dict() for name, each in figures.items()} for head, figures in heads.items()
                }
                for mode, heads in summary.items()
            },
            "leads": leads(summary),
            "draws": [
                {"seen": list(draw.seen), "unseen": list(draw.unseen), "heads": list(map(of_trial, trials))}
                for draw, trials in zip(plan.draws, study.trials, strict=False)
            ],
        },
    )


def of_trial(trial: Trial) -> dict[str, Any]:
    figures = {mode: {name: each.value for name, each in found.items()} for mode, found in trial.figures.items()}
    return {"head": trial.label, "held_out_map": trial.judged, "seconds": round(trial.seconds, 2), **figures}


def summarised(study: Study) -> Summary:
    """Return the figures of the winner of each family in every mode, over the finished draws of the labels."""
    chosen = [{each.family: each for each in winners(trials)} for trials in study.trials]
    found: dict[str, dict[str, Figures]] = {}
    for mode in TITLES:
        parts = [trials for trials in chosen if mode in trials[CHANCE].figures]
        if parts:
            found[mode] = {name: means([trials[name].figures[mode] for trials in parts]) for name in parts[0]}
    return found


def means(parts: Sequence[Figures]) -> Figures:
    """Return each figure over draws of the labels. A figure that a draw lacks is left out."""
    return {name: Figure.mean([part[name] for part in parts]) for name in parts[0] if all(name in p for p in parts)}


def tables(study: Study, summary: Summary) -> Iterator[Table]:
    """Yield a table for each mode, then one on the weight of the alignment."""
    for mode, heads in summary.items():
        rows = [
            (name, *map(cell, map(figures.get, SHOWN)), seconds(study, mode, name)) for name, figures in heads.items()
        ]
        best = max(range(len(rows)), key=lambda row: list(heads.values())[row][MAP].value)
        titles = ("head", *(f"={title} (95 % interval)" for title in SHOWN.values()), "=seconds")
        yield Table(TITLES[mode], titles, tuple(rows), tuple(notes(study, mode, heads)), best)
    if weights := list(weight_rows(study)):
        titles = ("aligned to", "=α", "=held-out mAP, seen labels", "=ZSL mAP", "=GZSL mAP")
        yield Table("The weight α of the alignment", titles, tuple(weights), (HELD_OUT,))


def notes(study: Study, mode: str, heads: Mapping[str, Figures]) -> Iterator[str]:
    """Yield what the cells of a table mean, and how the heads learned."""
    yield from (FEW.format(KS[name]) for name in KS if name not in heads[CHANCE])
    if mode == ZSL:
        yield from (*MEANING, NO_LEAK, CHOSEN)
        if CAPTIONED in heads and study.captions is not None:
            usable = study.captions.usable(study.plan.draws[0].unseen)
            yield LEAK.format(int((~usable).sum()), len(usable))


def cell(figure: Figure | None) -> str:
    """Return a figure with its interval, and its deviation over several draws."""
    if figure is None:
        return "–"
    low, high = figure.interval
    spread = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    return f"{figure.value:.3f} ({low:.3f} to {high:.3f}){spread}"


def seconds(study: Study, mode: str, family: str) -> str:
    """Return the mean time of a draw, in seconds, that all entrants of a family took to learn."""
    parts = [trials for trials in study.trials if mode in trials[0].figures]
    return f"{sum(each.seconds for trials in parts for each in trials if each.family == family) / len(parts):.1f}"


def weight_rows(study: Study) -> Iterator[tuple[str, ...]]:
    """Yield the mean figures of each decoder over the draws of the labels."""
    parts = [trials for trials in study.trials if ZSL in trials[0].figures]
    for target, alpha in (each.alignment for each in parts[0] if each.alignment):
        own = [each for trials in parts for each in trials if each.alignment == (target, alpha)]
        shown = [np.mean([each.judged for each in own])]
        shown += [np.mean([each.figures[mode][MAP].value for each in own]) for mode in (ZSL, GZSL)]
        yield target, f"{alpha:g}", *(f"{each:.3f}" for each in shown)


def missing(study: Study) -> Iterator[str]:
    """Yield what could not be measured, and why."""
    draws, plan = len(study.plan.draws), study.plan
    if len(study.trials) <= draws:
        yield STOPPED.format(len(study.trials), draws)
    if study.no_tokens:
        yield f"{study.no_tokens} The other heads are measured on vectors."
    elif plan.captions is None:
        yield "Alignment to captions: no task of captions is named, so the decoder is aligned to texts of labels only."
    yield from plan.remarks
