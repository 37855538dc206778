"""Paper 3 (arXiv 2406.14830): attention over tokens with label texts finds labels that training never saw.

Beside it stand the cosine, a bilinear head, and a label bank (`classifiers.fit.multilabel.bank`).

Each head learns from the training rows with only the seen labels; the labels of test rows are read once. The text
vectors are lite0's, averaged over prompts. Each fit chooses its epoch on training rows that it holds out. Loss and
learning rate of the bilinear head are chosen on seen labels that are held out, and so is the bank's mixture. The
decoder's settings are fixed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.labels import DRAWS, LEAST_IMAGES, UNSEEN, indicator
from benchmarks.quality.study import Finding, Study, Table
from classifiers.evaluation.label_figures import (
    LabelEvaluation,
    ZeroShotEvaluation,
    evaluate_labels,
    evaluate_zero_shot,
)
from classifiers.fit.multilabel.bank.estimator import BankClassifier
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier, Queries
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.multilabel.bilinear import BilinearHead
from classifiers.reproduce.clip_decoder.labels import LabelDraw, draws, frequent
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
"""Epochs of each task, about 450 and 600 steps. After these, figures on held-out training rows stop rising."""
BILINEAR = ({}, {"loss": "zlpr", "learning_rate": 3e-3})
COUNTS = (13, 25, 50, 100, 200)
"""Numbers of seen labels, besides all labels, to find the number from which the decoder is better."""
READ_ROWS = 500

BETTER = "the decoder finds unseen labels better than {} (ZSL mAP)"
GENERAL = "the decoder is better than {} among seen and unseen labels (GZSL mAP)"
BANK_BETTER = "a label bank finds unseen labels better than {} (ZSL mAP)"
BANK_GENERAL = "a label bank is better than {} among seen and unseen labels (GZSL mAP)"
BANK_CLOSED = "on seen labels a label bank is better than one logistic regression per label on pooled vectors (mAP)"
CLOSED = "on seen labels the decoder is better than one logistic regression per label on pooled vectors (mAP)"

HEADS = ("chance", "cosine", "bilinear", "decoder", "bank")

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Images:
    """The images of one task.

    Attributes:
        tokens: float16 (n, P, F).
        vectors: pooled vectors (n, F).
        names: frequent labels (L,).
        truth: the labels of each row, (n, L).
        training: true for training rows, (n,).
        text: text vectors of the labels, (L, F).
        bank: the labels that the encoder knows.
    """

    task: str
    tokens: NDArray[np.float16]
    vectors: NDArray[np.float32]
    names: tuple[str, ...]
    truth: NDArray[np.bool_]
    training: NDArray[np.bool_]
    text: NDArray[np.float32]
    bank: LabelBank


def studies(store: Store, _load: Any) -> list[Study]:
    """Return one study for each task. `_load` is not used, because it reads tasks with one class per row."""
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


def read(store: Store, task: str) -> Images:
    """Embed assets without tokens, then read all rows of a task."""
    encoder = registry.load(ENCODER, backend="auto", cache_dir=Settings().cache)
    backfill(store, encoder, tokens=True)
    matrix = store.matrix(task, [ENCODER], splits=("train", "test"))
    table = store.tokens(ENCODER)
    tokens = np.empty((len(matrix.ids), *table.shape), np.float16)
    for start in range(0, len(matrix.ids), READ_ROWS):
        ids, some = table.get(matrix.ids[start : start + READ_ROWS])
        order = {each: place for place, each in enumerate(ids)}
        tokens[start : start + len(ids)] = some[[order[each] for each in matrix.ids[start : start + READ_ROWS]]]
    names = frequent(matrix.y, LEAST_IMAGES)
    prompted = [encoder.embed_texts([prompt.format(name) for name in names]) for prompt in PROMPTS]
    text = np.mean([each / np.linalg.norm(each, axis=1, keepdims=True) for each in prompted], axis=0)
    truth = indicator(matrix.y, names)
    bank = encoder.bank()
    known = LabelBank(bank.weights, bank.bias, bank.texts, bank.unit)
    return Images(task, tokens, matrix.X, names, truth, matrix.splits == "train", text, known)


def study(store: Store, task: str) -> tuple[list[Finding], list[Table]]:
    """Test all claims on one task: unseen labels over five draws, the closed set, and the number of seen labels."""
    images = read(store, task)
    drawn = list(draws(images.names, UNSEEN[task], DRAWS))
    found = [dict(zero_shot(images, draw)) for draw in drawn]
    findings, rows = [], []
    for mode, claim, of_bank in (("zsl", BETTER, BANK_BETTER), ("gzsl", GENERAL, BANK_GENERAL)):
        for head in found[0]:
            values = [[getattr(getattr(each[head], mode), name) for name in ("map", "f1_at_3")] for each in found]
            mean, deviation = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, deviation, strict=True)]
            rows.append((task, mode.upper(), head, *cells))
        for head, said in (("decoder", claim), ("bank", of_bank)):
            for other in ("cosine", "bilinear"):
                apart = [getattr(each[head], mode).map - getattr(each[other], mode).map for each in found]
                findings.append(judged(said.format(other), task, apart))
    tables = [Table("Labels that training never saw", ("data", "mode", "head", "mAP", "F1@3"), tuple(rows))]
    more, table = closed_set(images)
    tables.append(table)
    if len(images.names) > COUNTS[0] * 2:
        tables.append(by_count(images, drawn[0]))
    return [*findings, *more], tables


def judged(claim: str, where: str, apart: Sequence[float]) -> Finding:
    """Return the finding that the differences, one for each draw, are above 0. It is sure if all draws agree."""
    figure = f"{100 * np.mean(apart):+.1f} ± {100 * np.std(apart, ddof=1):.1f} points over {len(apart)} draws"
    same = all(each > 0 for each in apart) or all(each <= 0 for each in apart)
    return Finding(claim, where, figure, bool(np.mean(apart) > 0), sure=same)


def zero_shot(images: Images, draw: LabelDraw) -> Iterator[tuple[str, ZeroShotEvaluation]]:
    """Yield each head with its figures on the test rows, for the labels of a draw."""
    names = tuple(sorted((*draw.seen, *draw.unseen)))
    columns = [images.names.index(name) for name in names]
    seen = np.isin(names, draw.seen)
    truth, text = images.truth[~images.training][:, columns], images.text[columns]

    def figures(scores: Scores) -> ZeroShotEvaluation:
        return evaluate_zero_shot(scores, truth, names, seen)

    V = images.vectors[~images.training]
    yield "chance", figures(np.random.default_rng(0).random(truth.shape, np.float32))
    yield "cosine", figures(BilinearHead.cosine(names, text).scores(V))
    yield "bilinear", figures(bilinear(images, draw).with_labels(names, text).scores(V))
    Y, own = learning(images, draw.seen)
    decoder = unfitted(images, "text").fit(images.tokens[own], Y, draw.seen, text=texts(images, draw.seen))
    yield "decoder", figures(flat(decoder.head_.with_labels(names, text).scores, images))
    bank = label_bank(images, draw.seen).head_
    yield "bank", figures(flat(bank.with_labels(names, text).scores, images))


def label_bank(images: Images, seen: Sequence[str]) -> BankClassifier:
    Y, own = learning(images, seen)
    return BankClassifier().fit(images.tokens[own], Y, seen, text=texts(images, seen), bank=images.bank)


def unfitted(images: Images, queries: Queries) -> DecoderClassifier:
    return DecoderClassifier(queries, epochs=EPOCHS[images.task], **DECODER)


def learning(images: Images, seen: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return Y (m, L) of the training rows with any of the labels, and their row numbers (m,)."""
    Y = images.truth[:, [images.names.index(name) for name in seen]]
    own = np.flatnonzero(images.training & Y.any(axis=1))
    return Y[own], own


def texts(images: Images, names: Sequence[str]) -> NDArray[np.float32]:
    return images.text[[images.names.index(name) for name in names]]


def bilinear(images: Images, draw: LabelDraw) -> BilinearHead:
    """Choose the settings that find held-out seen labels best on training rows, then learn from all seen labels."""
    (inner,) = draws(draw.seen, 0.2, (0,))
    Y, own = learning(images, inner.seen)
    inner_names = tuple(sorted((*inner.seen, *inner.unseen)))
    truth = images.truth[own][:, [images.names.index(name) for name in inner_names]]
    order = np.random.default_rng(0).permutation(len(own))
    held, rest = order[: len(own) // 5], order[len(own) // 5 :]

    def judge(settings: dict[str, Any]) -> float:
        made = BilinearClassifier(**settings)
        made.fit(images.vectors[own[rest]], Y[rest], inner.seen, text=texts(images, inner.seen))
        asked = made.head_.with_labels(inner_names, texts(images, inner_names))
        scores = asked.scores(images.vectors[own[held]])
        return evaluate_zero_shot(scores, truth[held], inner_names, np.isin(inner_names, inner.seen)).zsl.map

    best = max(BILINEAR, key=judge)
    Y, own = learning(images, draw.seen)
    fitted = BilinearClassifier(**best).fit(images.vectors[own], Y, draw.seen, text=texts(images, draw.seen))
    return fitted.head_


def flat(score: Callable[[Scores], Scores], images: Images) -> Scores:
    """Return the scores of the test rows' tokens, with a few rows in float32 at a time."""
    rows = np.flatnonzero(~images.training)
    parts = [
        score(images.tokens[rows[start : start + READ_ROWS]].reshape(-1, images.tokens[0].size).astype(np.float32))
        for start in range(0, len(rows), READ_ROWS)
    ]
    return np.concatenate(parts)


def closed_set(images: Images) -> tuple[list[Finding], Table]:
    """Compare the decoder and a label bank with one-vs-rest regression if all labels are seen."""
    names, (Y, own) = images.names, learning(images, images.names)
    truth = images.truth[~images.training]
    pooled = LabelwiseClassifier().fit(images.vectors[own], Y, names).head_
    grouped = unfitted(images, "groups").fit(images.tokens[own], Y, names).head_
    by_text = unfitted(images, "text").fit(images.tokens[own], Y, names, text=images.text).head_
    bank = label_bank(images, names).head_
    found: dict[str, LabelEvaluation] = {
        "logistic regression per label": evaluate_labels(
            pooled.scores(images.vectors[~images.training]), truth, names, 0.0
        ),
        "decoder, group queries": evaluate_labels(flat(grouped.scores, images), truth, names, 0.0),
        "decoder, text queries": evaluate_labels(flat(by_text.scores, images), truth, names, 0.0),
        "label bank": evaluate_labels(flat(bank.scores, images), truth, names, 0.0),
    }
    control = found["logistic regression per label"].map
    findings = [
        Finding(claim, f"{images.task}, {name}", f"{each.map:.3f} against {control:.3f}", each.map > control)
        for name, each in found.items()
        for start, claim in (("decoder", CLOSED), ("label bank", BANK_CLOSED))
        if name.startswith(start)
    ]
    rows = [(images.task, name, f"{e.map:.3f}", f"{e.f1_at_3:.3f}", f"{e.f1_at_5:.3f}") for name, e in found.items()]
    return findings, Table("All labels seen", ("data", "head", "mAP", "F1@3", "F1@5"), tuple(rows))


def by_count(images: Images, draw: LabelDraw) -> Table:
    """Return the ZSL mAP on the same unseen labels, for increasing numbers of seen labels."""
    rows = []
    order = np.random.default_rng(1).permutation(len(draw.seen))
    for count in (*(count for count in COUNTS if count < len(draw.seen)), len(draw.seen)):
        some = LabelDraw(tuple(sorted(draw.seen[i] for i in order[:count])), draw.unseen)
        found = dict(zero_shot(images, some))
        cells = (f"{found[head].zsl.map:.3f}" for head in HEADS)
        rows.append((images.task, str(count), *cells))
    header = ("data", "seen labels", *HEADS)
    return Table("ZSL mAP by the number of seen labels, first draw", header, tuple(rows))
