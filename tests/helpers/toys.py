"""Small labelled vectors, heads made from them, and stores that hold them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from classifiers.evaluation.calibration import score_quantiles
from classifiers.evaluation.conformal import aps_of_true, keep, lac_scores
from classifiers.fit.multilabel.bank.estimator import BankClassifier
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.base import probabilities
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.outlier import OutlierDetector, PrecisionPair
from classifiers.heads.transform import unit_blocks
from classifiers.prompts import PROMPTS
from classifiers.published.artifact import outlier_file
from classifiers.published.manifest import Conformal, EncoderBlock, TrainingRecord
from classifiers.training.kinds import KINDS
from classifiers.training.rows.rows import Rows
from embedder.spec import EncoderSpec
from store import Label, Store

FINGERPRINT = "a" * 64
EDGES = (0, 4, 8, 12)
"""Column edges of three blocks in a toy's columns."""


@dataclass(frozen=True)
class Toy:
    """Rows drawn from Gaussian classes with known parameters: X float32 (n, d), codes (n,), labels (n,) str."""

    X: np.ndarray
    codes: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def make_toy(n=600, dim=12, n_classes=5, spread=1.2, seed=0) -> Toy:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n_classes, dim)) * spread
    mixing = rng.normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    codes = rng.integers(0, n_classes, n)
    codes[:n_classes] = np.arange(n_classes)
    X = (means[codes] + rng.normal(size=(n, dim)) @ mixing + 0.5).astype(np.float32)
    classes = tuple(f"class {k}" for k in range(n_classes))
    return Toy(X, codes, np.array(classes)[codes], classes)


VARIANTS: dict[str, tuple[str, dict]] = {
    "gaussian": ("gaussian", {}),
    "gaussian tied-diag": ("gaussian", {"covariance": "tied-diag"}),
    "gaussian tied-spherical": ("gaussian", {"covariance": "tied-spherical", "norm": "unit"}),
    "gaussian diag": ("gaussian", {"covariance": "diag"}),
    "gaussian spherical": ("gaussian", {"covariance": "spherical", "project": "centre"}),
    "gaussian full": ("gaussian", {"covariance": "full", "shrinkage": "ledoit-wolf"}),
    "gaussian correlation": ("gaussian", {"covariance": "full", "correlation": True, "norm": "unit"}),
    "gaussian pca": ("gaussian", {"project": "pca", "dims": 8, "whiten": True}),
    "gaussian full pca": ("gaussian", {"covariance": "full", "project": "pca", "dims": 0.95, "pooling": 0.3}),
    "gaussian ranpac": ("gaussian", {"project": "ranpac", "dims": 60, "norm": "unit"}),
    "fusion": ("fusion", {"blocks": (0, 5, 12), "folds": 4}),
    "fusion cascade": ("fusion", {"blocks": (0, 5, 12), "rule": "cascade", "member_params": {"project": "centre"}}),
    "mixture": ("mixture", {}),
    "mixture of three": ("mixture", {"components": 3, "norm": "unit", "project": "pca", "dims": 9}),
    "mixture in closed form": ("mixture", {"components": 2, "C": 0}),
    "mixture sdgm-d": ("mixture", {"model": "sdgm-d", "components": 2}),
    "mixture sdgm-f": ("mixture", {"model": "sdgm-f", "metric": "col"}),
    "linear": ("linear", {}),
    "linear unit pca": ("linear", {"norm": "unit", "project": "pca", "dims": 0.99, "whiten": True}),
    "linear ranpac": ("linear", {"project": "ranpac", "dims": 60}),
    "zeroshot": ("zeroshot", {}),
    "zeroshot blend": ("zeroshot", {"blend": 0.3, "centre": False, "prompts": ("a {}", "{}")}),
    "zeroshot of two": ("zeroshot", {"blend": 0.1, "blocks": (0, 5, 12)}),
    "zeroshot bank": ("zeroshot", {"bank_weight": 0.2}),
    "zeroshot gaussian": ("zeroshot", {"blend": "gaussian", "shrinkage": 0.2}),
    "zeroshot probe": ("zeroshot", {"blend": "lp++", "bank_weight": 0.2}),
}
"""Every kind of head that gives one class, with several settings where these lead to different score functions."""


def unit(X):
    """Return the rows scaled to norm 1."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def toy_directions() -> np.ndarray:
    """Return text vectors of the default toy's classes from a perfect text side, (5, 12)."""
    toy = make_toy()
    units = unit(toy.X.astype(np.float64))
    return np.stack([units[toy.codes == k].mean(axis=0) for k in range(5)]) - units.mean(axis=0)


DIRECTIONS = toy_directions()


def embed_texts(texts: Sequence[str], dim: int = 12) -> np.ndarray:
    """Return toy text vectors, float32 (n, dim): near the direction of the class in the text, random without one."""
    rows = []
    for text in texts:
        row = np.random.default_rng(crc32(text.encode())).normal(size=dim)
        named = re.search(r"class ([0-4])\b", text) if dim == 12 else None
        rows.append(row / 20 + 3 * DIRECTIONS[int(named[1])] if named else row)
    return np.array(rows, np.float32).reshape(-1, dim)


def text_of(names, prompts=PROMPTS):
    """Return class directions, computed here: the mean of the unit vectors of all filled prompts, at unit norm."""
    filled = [[prompt.replace("{}", name) for prompt in prompts] for name in names]
    return unit(np.stack([unit(embed_texts(texts).astype(np.float64)).mean(axis=0) for texts in filled]))


def text_side(fingerprint: str, texts: Sequence[str]) -> np.ndarray:
    """Return `embed_texts` of the texts, with the arguments that training passes."""
    return embed_texts(texts)


class Banked:
    """A text side that knows only noise of the classes, and a label bank."""

    def __init__(self, bank):
        self.found = bank

    def __call__(self, fingerprint, texts):
        noise = np.random.default_rng(5).normal(size=(len(texts), 12)) * 2
        return embed_texts(texts) + noise.astype(np.float32)

    def bank(self, fingerprint):
        return self.found


def knowing(classes):
    """Return a bank whose classifiers are the classes' own directions, beside texts that name them."""
    text = unit(Banked(None)("", list(classes)))
    return LabelBank(DIRECTIONS.astype(np.float32), np.zeros(5, np.float32), text.astype(np.float32))


class WithTexts(ZeroShotClassifier):
    """The zero-shot estimator with its own text side, so that it fits by X and y like all others."""

    def fit(self, X, y):
        bank = toy_bank(np.asarray(X).shape[1]) if self.bank_weight else None
        return super().fit(X, y, text=lambda texts: embed_texts(texts, np.asarray(X).shape[1]), bank=bank)


def make(kind: str, **params):
    """Return an estimator of a kind that fits by X and y."""
    return WithTexts(**params) if kind == "zeroshot" else KINDS[kind].estimator(**params)


TOKENS = (2, 6)
"""Shape in which decoders read a toy's columns."""
TEXT = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
"""Text vectors of the default toy's classes, random."""

_SMALL = {"width": 32, "heads": 4, "hidden": 32, "epochs": 25, "learning_rate": 2e-2}
LABEL_VARIANTS: dict[str, tuple[type, dict]] = {
    "labelwise": (LabelwiseClassifier, {}),
    "labelwise pca": (LabelwiseClassifier, {"norm": "unit", "project": "pca", "dims": 0.95, "C": 1.0}),
    "labelwise ranpac": (LabelwiseClassifier, {"project": "ranpac", "dims": 60}),
    "bilinear cosine": (BilinearClassifier, {"rank": 0, "epochs": 5, "centre": True}),
    "bilinear": (BilinearClassifier, {"rank": 4, "epochs": 20, "centre": True}),
    "bilinear apart": (BilinearClassifier, {"rank": 12, "shared": False, "loss": "zlpr", "learning_rate": 1e-2}),
    "bank": (BankClassifier, {}),
    "bank tokens": (BankClassifier, {"penalty": 1.0}),
    "decoder": (DecoderClassifier, _SMALL),
    "decoder groups": (DecoderClassifier, {**_SMALL, "queries": "groups"}),
}
"""Variants of the kinds that give any number of labels; each name starts with the kind. Toy rows have one label."""


def estimator(variant: str, **more):
    if variant in LABEL_VARIANTS:
        made, params = LABEL_VARIANTS[variant]
        return made(**params, **more)
    kind, params = VARIANTS[variant]
    return make(kind, **params, **more)


def shaped(variant: str, X):
    """Return X in the shape that the estimator expects."""
    return X.reshape(-1, *TOKENS) if variant.startswith(("decoder", "bank tokens")) else X


def toy_bank(width: int, labels: int = 7) -> LabelBank:
    """Return a label bank with random weights and texts."""
    weights, text = np.random.default_rng(1).normal(size=(2, labels, width)).astype(np.float32)
    return LabelBank(weights, np.arange(labels, dtype=np.float32), unit(text), unit=True)


def given(variant: str) -> dict:
    """Return what a variant for any number of labels learns with, besides rows and labels."""
    if variant.startswith("labelwise"):
        return {}
    return {"text": TEXT[:, :6], "bank": toy_bank(6)} if variant == "bank tokens" else {"text": TEXT}


def fit(variant: str, X, labels, **more):
    """Return a fitted estimator of the variant."""
    made = estimator(variant, **more)
    if variant not in LABEL_VARIANTS:
        return made.fit(X, labels)
    classes = [f"class {k}" for k in range(5)]
    return made.fit(shaped(variant, X), labels[:, None] == np.array(classes), classes, **given(variant))


def fitted(variant: str, toy: Toy, **more):
    return fit(variant, toy.X, toy.labels, **more)


def detector_of(toy: Toy, edges: tuple[int, ...] | None = None) -> OutlierDetector:
    """Return the outlier detector fitted on the toy's own rows."""
    edges = (0, toy.X.shape[1]) if edges is None else edges
    statistics = GaussianStatistics.of(unit_blocks(toy.X, edges), toy.codes, len(toy.classes))
    return OutlierDetector.fold(statistics, PrecisionPair.of(statistics), edges)


def outlier_of(toy: Toy) -> tuple[tuple[float, ...], dict[str, bytes]]:
    """Return outlier quantiles of the toy's own rows for a training record, and the detector's file."""
    detector = detector_of(toy)
    return score_quantiles(detector.score(toy.X)), outlier_file(detector)


def record_of(head, toy: Toy, **changes) -> TrainingRecord:
    """Return the record that training would write, calibrated on the toy's own rows, without an outlier detector."""
    proba = probabilities(head.scores(toy.X), head.link, head.temperature)
    true = proba[np.arange(len(proba)), toy.codes]
    lac, aps = keep(lac_scores(true)), keep(aps_of_true(proba, toy.codes))
    fields = {
        "parameters": {},
        "task": "toy",
        "encoders": (EncoderBlock(name="toy", fingerprint=FINGERPRINT, columns=(0, head.dim)),),
        "snapshot": {"versions": {"labels": 3}},
        "training_ids": "b" * 64,
        "counts": tuple(np.bincount(toy.codes, minlength=len(head.classes)).tolist()),
        "metrics": {"val": {"accuracy": 0.5}},
        "conformal": Conformal(rows=len(true), lac=lac, aps=aps),
        "outlier": (),
        "packages": {"numpy": np.__version__},
    }
    return TrainingRecord(**{**fields, **changes})


def spec_of(dim: int, weights: str = "w", text: str | None = "t") -> EncoderSpec:
    return EncoderSpec(architecture="toy", weights=weights, activation="gelu", output="pooled", dim=dim, text=text)


def ids_of(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


def fill(store: Store, toy: Toy, *, task="toy", encoder="toy", splits=None) -> list[str]:
    """Store the toy's vectors and labels, and return the ids. `splits` are those of the rows; None splits by hash."""
    ids = ids_of(len(toy.X))
    probe = np.eye(2, toy.X.shape[1], dtype=np.float32)
    store.ensure_features(encoder, spec_of(toy.X.shape[1], weights=encoder), probe).put(ids, toy.X)
    splits = [None] * len(ids) if splits is None else splits
    store.labels.put(
        task, [Label(id_, [label], split) for id_, label, split in zip(ids, toy.labels, splits, strict=True)]
    )
    return ids


def fold_of(store: Store, ids: Sequence[str], count=5, *, task="toy", encoder="toy", by="rows") -> np.ndarray:
    """Return the fold of each training row, (n,)."""
    views = Rows(store, task, (encoder,), store.snapshot()).folds(count, by)
    return np.stack([view.held_out(ids) for view in views]).argmax(axis=0)


@dataclass(frozen=True)
class LabelToy:
    """A toy whose rows have any number of labels: X float32 (n, d), Y bool (n, L)."""

    X: np.ndarray
    Y: np.ndarray
    classes: tuple[str, ...]


def make_label_toy(n=600, dim=12, n_labels=4, seed=0) -> LabelToy:
    """Return rows to which each label adds its own direction."""
    rng = np.random.default_rng(seed)
    Y = rng.random((n, n_labels)) < np.linspace(0.15, 0.5, n_labels)
    directions = 3 * np.linalg.qr(rng.normal(size=(dim, n_labels)))[0].T
    X = (Y @ directions + rng.normal(size=(n, dim)) * 0.8 + 0.5).astype(np.float32)
    return LabelToy(X, Y, tuple("abcdefgh"[:n_labels]))


def fill_labels(store: Store, toy: LabelToy, *, task="toy", encoder="toy", splits=None, tokens=None) -> list[str]:
    """Store the toy's vectors and labels, any number per row, and return the ids; see `fill`. `tokens` are (P, F)."""
    ids = ids_of(len(toy.X))
    probe = np.eye(2, toy.X.shape[1], dtype=np.float32)
    spec = replace(spec_of(toy.X.shape[1], weights=encoder), tokens=tokens)
    store.ensure_features(encoder, spec, probe).put(ids, toy.X)
    splits = [None] * len(ids) if splits is None else splits
    rows = [[name for name, there in zip(toy.classes, own, strict=True) if there] for own in toy.Y]
    store.labels.put(task, [Label(i, some, split) for i, some, split in zip(ids, rows, splits, strict=True)])
    return ids
