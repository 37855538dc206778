"""What the tables say, in sentences, and every figure as values for programs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from classifiers.reproduce.mlcd.leads import CLAIMS, summary
from classifiers.reproduce.mlcd.study import Found, Tested, Trial
from classifiers.reproduce.mlcd.tables import Leads
from classifiers.reproduce.mlcd.texts import FIRST, Retrieved

NEARLY_EQUAL = 0.9
"""Mean cosine of a row's centres above which they are called near-duplicates."""


def findings(found: Sequence[Found], led: Sequence[Leads]) -> Iterator[str]:
    """Yield a sentence on each claim, and on the clusters and the curves of each encoder."""
    for claim in CLAIMS:
        yield summary(claim, [lead for leads in led for (each, _), lead in leads.items() if each == claim])
    for each in found:
        yield from _of_encoder(each)


def _of_encoder(found: Found) -> Iterator[str]:
    if "clusters" in found.ablations:
        value, variant, _ = max(found.ablations["clusters"], key=lambda row: row[2].score)
        yield (
            f"{found.encoder}: on validation rows the best number of clusters is {value}, one for "
            f"{found.learned / variant.clusters:.0f} rows (paper: 4 on ImageNet-1k, 390 on LAION-400M)."
        )
    [*_, clusters] = found.quality
    yield (
        f"{found.encoder}: two of the {clusters.nearest} centres nearest to a row have a mean cosine of "
        f"{clusters.together:z.2f}, any two centres {clusters.apart:z.2f}: they are "
        f"{'near-duplicates' if clusters.together > NEARLY_EQUAL else 'related, but not duplicates'}."
    )
    mlcd, mlc = (found.tested[name].trials[0].space.curve[-1] for name in ("MLCD", "MLC"))
    agrees = mlcd.positive > mlc.positive and mlcd.negative < mlc.negative
    yield (
        f"{found.encoder}: after training, the mean cosine with positives is {mlcd.positive:.3f} by MLCD and "
        f"{mlc.positive:.3f} by MLC, with negatives {mlcd.negative:.3f} and {mlc.negative:.3f}. The paper's Fig. 3 "
        "shows higher ones with positives and lower ones with negatives by MLCD: "
        f"{'so here' if agrees else 'not so here'}."
    )


def missing(found: Sequence[Found], captions: str | None, unfinished: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on each part of the experiment that was not measured."""
    if unfinished:
        yield f"Everything with {', '.join(unfinished)}, because the run was stopped."
    yield (
        "The towers are frozen: what was learned here is a linear map of stored vectors, or a small network. "
        "Pre-training, fine-tuning and the other data sets of the paper are not repeated."
    )
    if any(not each.parts.exclusive for each in found):
        yield (
            "Zero-shot, and the agreement of clusters with labels: both need exactly one class for each row. The "
            "reproduction of CLIP-Decoder finds labels by their texts."
        )
    elif blind := [each.encoder for each in found if each.zero_shot is None]:
        yield f"Zero-shot and retrieval with {', '.join(blind)}, which takes no text."
    if captions is None:
        yield "Image-text retrieval, because no task with captions was named."


def figures(found: Found, leads: Leads) -> dict[str, Any]:
    """Return every figure of one encoder, JSON-serialisable."""
    parts = found.parts
    return {
        "rows": {
            "learned": found.learned,
            **{name: len(getattr(parts, name).truth) for name in ("train", "val", "test")},
            "validated_on": parts.validated_on,
        },
        "base": asdict(found.plan.base),
        "chosen": asdict(found.chosen),
        "validation": {
            "controls": {name: _trial(trial) for name, trial in found.controls.items()},
            **{
                name: [{"value": value, **asdict(variant), **_trial(trial)} for value, variant, trial in table]
                for name, table in found.ablations.items()
            },
        },
        "test": {name: _tested(tested) for name, tested in found.tested.items()},
        "claims": [
            {"claim": claim.text, "judge": judge, **asdict(lead), "verdict": lead.verdict}
            for (claim, judge), lead in leads.items()
        ],
        "clusters": [
            {
                name: None if isinstance(value, float) and math.isnan(value) else value
                for name, value in asdict(each).items()
            }
            for each in found.quality
        ],
        "curves": {
            name: [asdict(epoch) for epoch in found.tested[name].trials[0].space.curve] for name in ("MLCD", "MLC")
        },
        "zero_shot": found.zero_shot and asdict(found.zero_shot),
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        judge: {verdict.outcome.key: verdict.outcome.value, "setting": verdict.setting}
        for judge, verdict in trial.verdicts.items()
    }


def _tested(tested: Tested) -> dict[str, Any]:
    """Return by judge the accuracy or mAP and the chosen setting of each seed."""
    return {
        judge: {
            outcome.key: outcome.values.tolist(),
            "setting": [trial.verdicts[judge].setting for trial in tested.trials],
        }
        for judge, outcome in tested.outcomes.items()
    }


def recalls(found: Retrieved) -> dict[str, Any]:
    """Return recall in both directions, JSON-serialisable."""
    return {
        "split": found.split,
        "images": found.images,
        "captions": found.captions,
        "recall": [
            {
                "direction": way,
                "vectors": vectors,
                **{f"R@{k}": asdict(each) for k, each in zip(FIRST, shares, strict=True)},
            }
            for (way, vectors), shares in found.recall.items()
        ],
    }
