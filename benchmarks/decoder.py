"""What the label bank of an encoder adds to the decoder of CLIP-Decoder, on labels that it was not trained on.

    python -m benchmarks.decoder --data FOLDER [--task coco18_share] [--work FOLDER] [--epochs N] [--test] VARIANT…

A variant is `plain`, or parts joined by "+":

- distilled: in each step, `SAMPLED` labels of the bank are queries too. Their scores have to be the bank's own scores
  of the image, standardised label by label (logits as targets, Ba & Caruana 2014, arXiv 1312.6184).
- cosine: the cosine of image and text is added. The decoder's own output weights start at 0.
- attention: the same, but cosines of tokens, weighted by an attention that starts even: at step 0 it is the cosine.
- synonyms: the text of a query is drawn anew in each step: a prompt of a trained label, a text of a label of the bank.
- mapped: each token is replaced by the mean text of the bank's labels, weighted by their probabilities for it.

Every figure is of the labels seen in the first draw of `benchmarks.quality`: a quarter of them at a time is left out of
training, and mAP is that of these labels on training rows that were left out too. With --test, each variant learns
from all seen labels and training rows, and is measured on the unseen labels and test rows. The encoder is lite0. Tokens
are reduced to their first `COMPONENTS` principal components, because the figures are made on a processor.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Generator, Tensor
from torch.nn.functional import mse_loss

from benchmarks.measure import machine
from benchmarks.quality import zero_shot
from benchmarks.quality.__main__ import WORK
from benchmarks.quality.labels import UNSEEN
from benchmarks.quality.vectors import prepare
from classifiers.evaluation.label_figures import evaluate_zero_shot, mean_average_precision
from classifiers.fit.descent import Parameters, Schedule, descend
from classifiers.fit.multilabel.bank.ridge import row_folds, spread
from classifiers.fit.multilabel.decoder_layer import Drop, decode, dropout, embed, keep
from classifiers.fit.multilabel.decoder_training import DecoderPlan, Scaling, draw, start, text_queries
from classifiers.fit.multilabel.losses import asymmetric_loss
from classifiers.fit.resident import CPU
from classifiers.heads.multilabel.bank.members import softmax
from classifiers.heads.transform import unit_rows
from classifiers.reproduce.clip_decoder.labels import draws
from embedder import registry
from embedder.engines.imagenet import class_texts
from services.settings import Settings
from store import Store

Array = NDArray[np.float32]
Numbers = NDArray[np.intp]
Parts = frozenset[str]
Tokens = NDArray[np.float16]
Scores = Callable[[Numbers, Numbers], Array]
"""Rows (n,) and labels (L,), by their numbers → scores (n, L)."""
Fit = Callable[["Pictures", Numbers, Numbers], Scores]
"""Pictures, and the labels and rows to learn from → scores of any rows and labels."""

PARTS = frozenset(["distilled", "cosine", "attention", "synonyms", "mapped"])
SCHEDULE = Schedule(epochs=0, batch=64, learning_rate=3e-3)
SIZES = {"width": 64, "heads": 4, "hidden": 128}
PLAN = DecoderPlan(queries="text", **SIZES, dropout=0.1, alpha=0, beta=1, seed=0, schedule=SCHEDULE)
COMPONENTS, SAMPLED, ROWS_A_STEP = 256, 64, 64
DISTILLATION, FIRST_SCALE = 10.0, 20.0
"""Weight of the mean squared error of a bank label's score; first factor of the cosines, as in the bilinear head."""
LABEL_FOLDS, ROW_FOLDS = 4, 2


class Pictures:
    """The images of a task, and its labels in numbers: the seen ones, the unseen ones, then those of the bank."""

    def __init__(self, images: zero_shot.Images) -> None:
        (division,) = draws(images.names, UNSEEN[images.task], (0,))
        self.names = (*division.seen, *division.unseen)
        self.images, self.seen, self.labels = images, len(division.seen), len(self.names)
        self.truth = images.truth[:, [images.names.index(name) for name in self.names]]
        own = unit_rows(zero_shot.texts(images, self.names).astype(np.float32))
        self.text = np.concatenate([own, images.bank.text])
        means = images.tokens.mean(axis=1, dtype=np.float32)
        self.norms = np.linalg.norm(means, axis=1, keepdims=True)
        self.pooled, self.known = means / self.norms, images.bank.logits(means)

    def reduced(self, mapped: bool) -> Tokens:
        """Return the principal components of the tokens, or of the mean text of the bank for each token, (n, P, C)."""
        (n, P, F), bank = self.images.tokens.shape, self.images.bank
        some = self.images.tokens[self.images.training].reshape(-1, F)[::7].astype(np.float32)
        basis = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(bank.text if mapped else some)
        made = np.empty((n, P, COMPONENTS), np.float16)
        for rows in steps(np.arange(n)):
            tokens = self.images.tokens[rows].reshape(-1, F).astype(np.float32)
            changed = softmax(bank.logits(tokens)) @ bank.text if mapped else tokens
            made[rows] = basis.transform(changed).reshape(-1, P, COMPONENTS)
        return made

    @cached_property
    def synonyms(self) -> list[Array]:
        """The texts of each label, norm 1: a label of the task in each prompt, the texts of a label of the bank."""
        written = [[prompt.format(name) for prompt in zero_shot.PROMPTS] for name in self.names]
        written += [[text for text, _ in texts] for texts in class_texts()]
        encoder = registry.load(zero_shot.ENCODER, cache_dir=Settings().cache)
        vectors = unit_rows(encoder.embed_texts([text for texts in written for text in texts]))
        return np.split(vectors, np.cumsum([len(texts) for texts in written])[:-1])

    def learning(self, labels: Numbers, allowed: NDArray[np.bool_]) -> Numbers:
        """Return the training rows among the allowed ones that have any of the labels."""
        return np.flatnonzero(allowed & self.images.training & self.truth[:, labels].any(axis=1))


class Training:
    """The training of a variant on some labels and rows of pictures, both by their numbers."""

    def __init__(self, pictures: Pictures, tokens: Tokens, parts: Parts, labels: Numbers, rows: Numbers) -> None:
        self.pictures, self.parts, self.labels, self.rows = pictures, parts, labels, rows
        self.order, self.random = Generator().manual_seed(0), np.random.default_rng(0)
        self.tokens = tokens
        bank = np.arange(pictures.labels, len(pictures.text))
        self.taught = bank if "distilled" in parts else bank[:0]
        self.of_text = Scaling.of(pictures.text[np.concatenate([labels, self.taught])])
        self.of_tokens = Scaling.of(self.tokens[rows])
        known = pictures.known[rows]
        self.targets = (pictures.known - known.mean(axis=0)) / known.std(axis=0)
        self.learned = self.start()

    def start(self) -> Parameters:
        """Return the first weights. Those of `plain` are the first weights of `DecoderClassifier`."""
        truth, texts = self.pictures.truth[self.rows][:, self.labels], torch.zeros(1, self.pictures.text.shape[1])
        p = start(PLAN, COMPONENTS, truth, self.order) | text_queries(PLAN.width, texts, truth, self.order)
        del p["text"]  # each step has its own
        if self.parts & {"cosine", "attention"}:
            mean = float((self.pictures.pooled[self.rows] @ self.pictures.text[self.labels].T).mean())
            p |= {"class_w": torch.zeros(PLAN.width), "log_scale": torch.tensor(math.log(FIRST_SCALE))}
            p["bias"] -= FIRST_SCALE * mean
        if "attention" in self.parts:
            p |= {"asked_W": torch.zeros_like(p["text_W"]), "offered_W": draw(self.order, PLAN.width, COMPONENTS)}
        return p | ({"slope": torch.ones(1), "level": -p["bias"]} if len(self.taught) else {})

    def run(self, epochs: int) -> Scores:
        """Train, and return the scores of any rows and labels."""
        loss, schedule = partial(self.loss, dropout(PLAN.dropout, self.order)), replace(SCHEDULE, epochs=epochs)
        p = descend(self.learned, loss, len(self.rows), schedule, self.order).parameters

        @torch.no_grad()
        def scores(rows: Numbers, labels: Numbers) -> Array:
            text = self.pictures.text[labels]
            return np.concatenate([self.scores(p, some, text, keep).numpy() for some in steps(rows)])

        return scores

    def loss(self, drop: Drop, drawn: Tensor) -> Tensor:
        """Return the asymmetric loss of the labels, plus the error of a sample of the bank's labels."""
        rows, L = self.rows[drawn.numpy()], len(self.labels)
        taught = self.random.choice(self.taught, min(SAMPLED, len(self.taught)), replace=False)
        scores = self.scores(self.learned, rows, self.texts(np.concatenate([self.labels, taught])), drop)
        value = asymmetric_loss(scores[:, :L], torch.from_numpy(self.pictures.truth[rows][:, self.labels])).mean()
        if not len(taught):
            return value
        targets = torch.from_numpy(self.targets[rows][:, taught - self.pictures.labels])
        return value + DISTILLATION * mse_loss(self.learned["slope"] * scores[:, L:] + self.learned["level"], targets)

    def texts(self, labels: Numbers) -> Array:
        """Return the text of each label, or with `synonyms` a random one of its texts, (L, F)."""
        if "synonyms" not in self.parts:
            return self.pictures.text[labels]
        every = self.pictures.synonyms
        return np.stack([every[label][self.random.integers(len(every[label]))] for label in labels])

    def scores(self, p: Parameters, rows: Numbers, text: Array, drop: Drop) -> Tensor:
        """Return the scores (n, L) of rows for texts of norm 1 (L, F)."""
        tokens = self.of_tokens.on(CPU)(torch.from_numpy(self.tokens[rows]))
        queries = self.of_text(text)
        found = decode({**p, "text": queries}, embed(p, tokens), PLAN.heads, drop)
        if "attention" in self.parts:
            return found + p["log_scale"].exp() * self.attended(p, rows, text, tokens, queries)
        if "cosine" in self.parts:
            return found + p["log_scale"].exp() * torch.from_numpy(self.pictures.pooled[rows] @ text.T)
        return found

    def attended(self, p: Parameters, rows: Numbers, text: Array, tokens: Tensor, queries: Tensor) -> Tensor:
        """Return the attention's mean of token · text, over the norm of the mean token: the cosine, if it is even."""
        whole = self.pictures.images.tokens[rows].astype(np.float32)
        cosines = torch.from_numpy(whole @ text.T / self.pictures.norms[rows][:, None])
        logits = (tokens @ p["offered_W"].T) @ (queries @ p["asked_W"].T).T / math.sqrt(PLAN.width)
        return (logits.softmax(dim=1) * cosines).sum(dim=1)


def steps(rows: Numbers) -> Iterator[Numbers]:
    """Yield rows, a few at a time."""
    yield from (rows[first : first + ROWS_A_STEP] for first in range(0, len(rows), ROWS_A_STEP))


def cosine(pictures: Pictures, _labels: Numbers, _rows: Numbers) -> Scores:
    """Return the scores of no training at all."""
    return lambda rows, labels: pictures.pooled[rows] @ pictures.text[labels].T


def trained(parts: Parts, epochs: int, tokens: Tokens, pictures: Pictures, labels: Numbers, rows: Numbers) -> Scores:
    """Return the scores of a variant that learned from labels and rows."""
    return Training(pictures, tokens, parts, labels, rows).run(epochs)


def held_out(pictures: Pictures, fit: Fit, folds: int) -> tuple[float, ...]:
    """Return the mAP of seen labels that were left out of training, and of those that were not."""
    labels, rows = np.arange(pictures.seen), np.flatnonzero(pictures.images.training)
    label_fold, row_fold = spread(pictures.seen, 0, LABEL_FOLDS), np.full(len(pictures.truth), -1)
    row_fold[rows] = row_folds(pictures.truth[rows][:, labels], 0, ROW_FOLDS)
    figures = []
    for fold in range(folds):
        held, kept = labels[label_fold == fold], labels[label_fold != fold]
        judged = row_fold == fold % ROW_FOLDS
        scores = fit(pictures, kept, pictures.learning(kept, ~judged))
        judges = np.flatnonzero(judged)
        truth = pictures.truth[judges]
        figures.append([mean_average_precision(scores(judges, some), truth[:, some]) for some in (held, kept)])
    return tuple(np.mean(figures, axis=0).tolist())


def tested(pictures: Pictures, fit: Fit, _folds: int) -> tuple[float, ...]:
    """Return the ZSL and the GZSL mAP on test rows."""
    labels, every = np.arange(pictures.seen), np.arange(pictures.labels)
    test = np.flatnonzero(~pictures.images.training)
    scores = fit(pictures, labels, pictures.learning(labels, pictures.images.training))(test, every)
    found = evaluate_zero_shot(scores, pictures.truth[test], pictures.names, every < pictures.seen)
    return found.zsl.map, found.gzsl.map


def parts_of(name: str) -> Parts:
    """Return the parts of a variant. Raises ValueError for unknown ones, which argparse reports."""
    parts = frozenset(name.split("+")) - {"plain"}
    if not parts <= PARTS:
        raise ValueError(name)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="VARIANT", type=parts_of)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", choices=zero_shot.TASKS, default=zero_shot.TASKS[0])
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the store")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folds", type=int, default=LABEL_FOLDS, help="measure only the first of the four folds")
    parser.add_argument("--test", action="store_true", help="measure on unseen labels and test rows instead")
    options = parser.parse_args()
    print(machine())
    store = Store.open(options.work / "headwater.db")
    prepare(store, options.data, [options.task])
    pictures = Pictures(zero_shot.read(store, options.task))
    measure, said = (tested, ("ZSL", "GZSL")) if options.test else (held_out, ("labels left out", "labels trained"))

    def show(told: str, fit: Fit) -> None:
        began, figures = time.perf_counter(), measure(pictures, fit, options.folds)
        words = ", ".join(f"{name} {figure:.3f}" for name, figure in zip(said, figures, strict=True))
        print(f"{options.task}, {told}: mAP {words} ({time.perf_counter() - began:.0f} s)", flush=True)

    show("the cosine alone", cosine)
    for parts in options.variants:
        tokens = pictures.reduced("mapped" in parts)
        show(f"{'+'.join(sorted(parts)) or 'plain'}", partial(trained, parts, options.epochs, tokens))


if __name__ == "__main__":
    main()
