"""Paper 3 (arXiv 2406.14830): do attention over tokens and label texts find labels that training never saw?

Every head learns from the training rows with the seen labels alone; the test rows' labels are looked at once. Text
vectors are lite0's, the mean over prompts. Epochs are chosen on training rows that each fit holds out by itself, the
bilinear head's loss and rate on seen labels that are held out of seen labels; the decoder's settings are fixed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.labels import DRAWS, UNSEEN, LabelDraw, draws, frequent, indicator
from benchmarks.quality.study import Finding, Study, Table
from classifiers.evaluation.label_figures import (
    LabelEvaluation,
    ZeroShotEvaluation,
    evaluate_labels,
    evaluate_zero_shot,
)
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier, Queries
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.heads.multilabel.bilinear import BilinearHead
from embedder import registry
from services.jobs.backfill.local import backfill
from services.settings import Settings
from store import Store

PAPER = "CLIP-Decoder (arXiv 2406.14830)"
TASKS = ("coco18_share", "emoji_2vendors")
ENCODER = "lite0"
PROMPTS = ("a photo of a {}", "a picture of the {}", "{}")
DECODER = {"width": 128, "hidden": 256}
EPOCHS = {"coco18_share": 40, "emoji_2vendors": 15}
"""About 450 and 600 steps, by when the figures no longer rise on training rows that were held out."""
BILINEAR = ({}, {"loss": "zlpr", "learning_rate": 3e-3})
COUNTS = (13, 25, 50, 100, 200)
"""Of seen labels, beside all of them: from how many on does the decoder win?"""
READ_ROWS = 500

BETTER = "the decoder finds unseen labels better than {} (ZSL mAP)"
GENERAL = "the decoder is better than {} among seen and unseen labels (GZSL mAP)"
CLOSED = "on seen labels the decoder is better than a logistic regression a label on pooled vectors (mAP)"

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """One task: tokens float16 (n, P, F), pooled vectors (n, F), which rows have which of the frequent labels."""

    task: str
    tokens: NDArray[np.float16]
    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    truth: NDArray[np.bool_]
    training: NDArray[np.bool_]
    text: NDArray[np.float32]


def studies(store: Store, _load: Any) -> list[Study]:
    """One a task. `_load` gives vectors with one label a row, so it has no use here."""
    settings = {
        "draws": DRAWS,
        "unseen": UNSEEN,
        "decoder": DECODER,
        "epochs": EPOCHS,
        "bilinear": BILINEAR,
        "prompts": PROMPTS,
    }
    made = []
    for task in TASKS:
        rows = sorted(store.labels.get(task).select(["id", "labels", "split"]).to_pylist(), key=lambda row: row["id"])
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        made.append(Study(PAPER, f"zero shot, {task}", __file__, digest, partial(study, store, task), settings))
    return made


def read(store: Store, task: str) -> Pictures:
    """Embeds what lacks tokens, then reads everything of a task."""
    encoder = registry.load(ENCODER, backend="auto", cache_dir=Settings().cache)
    backfill(store, encoder, tokens=True)
    matrix = store.matrix(task, [ENCODER], splits=("train", "test"))
    table = store.tokens(ENCODER)
    tokens = np.empty((len(matrix.ids), *table.shape), np.float16)
    for start in range(0, len(matrix.ids), READ_ROWS):
        ids, some = table.get(matrix.ids[start : start + READ_ROWS])
        order = {each: place for place, each in enumerate(ids)}
        tokens[start : start + len(ids)] = some[[order[each] for each in matrix.ids[start : start + READ_ROWS]]]
    names = frequent(matrix.y)
    prompted = [encoder.embed_texts([prompt.format(name) for name in names]) for prompt in PROMPTS]
    text = np.mean([each / np.linalg.norm(each, axis=1, keepdims=True) for each in prompted], axis=0)
    truth = indicator(matrix.y, names)
    return Pictures(task, tokens, matrix.X, names, truth, matrix.splits == "train", text)


def study(store: Store, task: str) -> tuple[list[Finding], list[Table]]:
    """Unseen labels over five draws, the closed set, and the number of seen labels."""
    pictures = read(store, task)
    drawn = list(draws(pictures.names, UNSEEN[task]))
    found = [dict(zero_shot(pictures, draw)) for draw in drawn]
    findings, rows = [], []
    for mode, claim in (("zsl", BETTER), ("gzsl", GENERAL)):
        for head in found[0]:
            values = [[getattr(getattr(each[head], mode), name) for name in ("map", "f1_at_3")] for each in found]
            mean, deviation = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, deviation, strict=True)]
            rows.append((task, mode.upper(), head, *cells))
        for other in ("cosine", "bilinear"):
            apart = [getattr(each["decoder"], mode).map - getattr(each[other], mode).map for each in found]
            findings.append(judged(claim.format(other), task, apart))
    tables = [Table("Labels that training never saw", ("data", "mode", "head", "mAP", "F1@3"), tuple(rows))]
    more, table = closed_set(pictures)
    tables.append(table)
    if len(pictures.names) > COUNTS[0] * 2:
        tables.append(by_count(pictures, drawn[0]))
    return [*findings, *more], tables


def judged(claim: str, where: str, apart: Sequence[float]) -> Finding:
    """A claim that differences, one a draw, are above 0; sure where all draws agree."""
    figure = f"{100 * np.mean(apart):+.1f} ± {100 * np.std(apart, ddof=1):.1f} points over {len(apart)} draws"
    same = all(each > 0 for each in apart) or all(each <= 0 for each in apart)
    return Finding(claim, where, figure, bool(np.mean(apart) > 0), sure=same)


def zero_shot(pictures: Pictures, draw: LabelDraw) -> Iterator[tuple[str, ZeroShotEvaluation]]:
    """Head → its figures on the test rows, all of labels that were drawn."""
    names = tuple(sorted((*draw.seen, *draw.unseen)))
    columns = [pictures.names.index(name) for name in names]
    seen = np.isin(names, draw.seen)
    truth, text = pictures.truth[~pictures.training][:, columns], pictures.text[columns]

    def figures(scores: Scores) -> ZeroShotEvaluation:
        return evaluate_zero_shot(scores, truth, names, seen)

    V = pictures.vectors[~pictures.training]
    yield "chance", figures(np.random.default_rng(0).random(truth.shape, np.float32))
    yield "cosine", figures(BilinearHead.cosine(names, text).scores(V))
    yield "bilinear", figures(bilinear(pictures, draw).with_labels(names, text).scores(V))
    Y, own = learning(pictures, draw.seen)
    decoder = unfitted(pictures, "text").fit(pictures.tokens[own], Y, draw.seen, text=texts(pictures, draw.seen))
    yield "decoder", figures(flat(decoder.head_.with_labels(names, text).scores, pictures))


def unfitted(pictures: Pictures, queries: Queries) -> DecoderClassifier:
    return DecoderClassifier(queries, epochs=EPOCHS[pictures.task], **DECODER)


def learning(pictures: Pictures, seen: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Y of training rows with any of the labels, and which rows those are."""
    Y = pictures.truth[:, [pictures.names.index(name) for name in seen]]
    own = np.flatnonzero(pictures.training & Y.any(axis=1))
    return Y[own], own


def texts(pictures: Pictures, names: Sequence[str]) -> NDArray[np.float32]:
    return pictures.text[[pictures.names.index(name) for name in names]]


def bilinear(pictures: Pictures, draw: LabelDraw) -> BilinearHead:
    """The settings that find held-out seen labels best on training rows, then learned from all seen labels."""
    (inner,) = draws(draw.seen, 0.2, (0,))
    Y, own = learning(pictures, inner.seen)
    inner_names = tuple(sorted((*inner.seen, *inner.unseen)))
    truth = pictures.truth[own][:, [pictures.names.index(name) for name in inner_names]]
    order = np.random.default_rng(0).permutation(len(own))
    held, rest = order[: len(own) // 5], order[len(own) // 5 :]

    def judge(settings: dict[str, Any]) -> float:
        made = BilinearClassifier(**settings)
        made.fit(pictures.vectors[own[rest]], Y[rest], inner.seen, text=texts(pictures, inner.seen))
        asked = made.head_.with_labels(inner_names, texts(pictures, inner_names))
        scores = asked.scores(pictures.vectors[own[held]])
        return evaluate_zero_shot(scores, truth[held], inner_names, np.isin(inner_names, inner.seen)).zsl.map

    best = max(BILINEAR, key=judge)
    Y, own = learning(pictures, draw.seen)
    fitted = BilinearClassifier(**best).fit(pictures.vectors[own], Y, draw.seen, text=texts(pictures, draw.seen))
    return fitted.head_


def flat(score: Callable[[Scores], Scores], pictures: Pictures) -> Scores:
    """Scores of the test rows' tokens, some rows in float32 at a time."""
    rows = np.flatnonzero(~pictures.training)
    parts = [
        score(pictures.tokens[rows[start : start + READ_ROWS]].reshape(-1, pictures.tokens[0].size).astype(np.float32))
        for start in range(0, len(rows), READ_ROWS)
    ]
    return np.concatenate(parts)


def closed_set(pictures: Pictures) -> tuple[list[Finding], Table]:
    """All labels seen: the decoder with group queries and with texts, against a regression a label."""
    names, (Y, own) = pictures.names, learning(pictures, pictures.names)
    truth = pictures.truth[~pictures.training]
    pooled = LabelwiseClassifier().fit(pictures.vectors[own], Y, names).head_
    grouped = unfitted(pictures, "groups").fit(pictures.tokens[own], Y, names).head_
    by_text = unfitted(pictures, "text").fit(pictures.tokens[own], Y, names, text=pictures.text).head_
    found: dict[str, LabelEvaluation] = {
        "logistic regression a label": evaluate_labels(
            pooled.scores(pictures.vectors[~pictures.training]), truth, names, 0.0
        ),
        "decoder, group queries": evaluate_labels(flat(grouped.scores, pictures), truth, names, 0.0),
        "decoder, text queries": evaluate_labels(flat(by_text.scores, pictures), truth, names, 0.0),
    }
    control = found["logistic regression a label"].map
    findings = [
        Finding(CLOSED, f"{pictures.task}, {name}", f"{each.map:.3f} against {control:.3f}", each.map > control)
        for name, each in found.items()
        if name.startswith("decoder")
    ]
    rows = [(pictures.task, name, f"{e.map:.3f}", f"{e.f1_at_3:.3f}", f"{e.f1_at_5:.3f}") for name, e in found.items()]
    return findings, Table("All labels seen", ("data", "head", "mAP", "F1@3", "F1@5"), tuple(rows))


def by_count(pictures: Pictures, draw: LabelDraw) -> Table:
    """ZSL mAP on the same unseen labels after more and more seen ones."""
    rows = []
    order = np.random.default_rng(1).permutation(len(draw.seen))
    for count in (*(count for count in COUNTS if count < len(draw.seen)), len(draw.seen)):
        some = LabelDraw(tuple(sorted(draw.seen[i] for i in order[:count])), draw.unseen)
        found = dict(zero_shot(pictures, some))
        cells = (f"{found[head].zsl.map:.3f}" for head in ("chance", "cosine", "bilinear", "decoder"))
        rows.append((pictures.task, str(count), *cells))
    header = ("data", "seen labels", "chance", "cosine", "bilinear", "decoder")
    return Table("ZSL mAP by the number of seen labels, first draw", header, tuple(rows))
