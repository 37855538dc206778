"""The kinds of head that can be trained, as data."""

from collections.abc import Mapping
from typing import Any

from classifiers.errors import UnknownKind, UnknownParameter
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import MixtureClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.multilabel.bank.estimator import BankClassifier
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.prompts import PROMPTS
from classifiers.training.classes import ClassKind
from classifiers.training.fused_report import fusion_reports
from classifiers.training.kind import Kind
from classifiers.training.labels import LabelKind, fold_by_fold, out_of_fold_rows, rows_held_out
from classifiers.training.learning.learn import learn_fusion, learn_mixture, relearned
from classifiers.training.learning.linear import learn_linear
from classifiers.training.learning.streamed import learn_streamed, without_statistics
from classifiers.training.learning.tuning import AUTO
from classifiers.training.learning.zero_shot import learn_zero_shot, named_classes, unlearned
from classifiers.training.rows.token_rows import TextSpaceRows, TokenRows

MOST_STEPS = 200
"""Maximum number of L-BFGS steps of `labelwise`. Tens of labels converge in fewer steps; hundreds of rare labels would
take a thousand steps and gain nothing in mAP."""

CLASS_KINDS: dict[str, ClassKind] = {
    "gaussian": ClassKind(GaussianClassifier, {"shrinkage": AUTO}, learn_streamed, without_statistics, parallel=True),
    "fusion": ClassKind(FusionClassifier, {}, learn_fusion, relearned, compare=fusion_reports),
    "mixture": ClassKind(MixtureClassifier, {"components": AUTO}, learn_mixture, relearned),
    "linear": ClassKind(LinearClassifier, {"C": AUTO}, learn_linear, relearned),
    "zeroshot": ClassKind(
        ZeroShotClassifier,
        {"shrinkage": AUTO, "prompts": list(PROMPTS)},
        learn_zero_shot,
        unlearned,
        named_classes,
        texts=True,
    ),
}
"""Kinds that give each row exactly one class."""

LABEL_KINDS: dict[str, LabelKind] = {
    "labelwise": LabelKind(LabelwiseClassifier, {"max_iter": MOST_STEPS}, fold_by_fold),
    "bilinear": LabelKind(BilinearClassifier, {"prompts": list(PROMPTS)}, rows_held_out, texts=lambda _: True),
    "bank": LabelKind(
        BankClassifier, {"prompts": list(PROMPTS)}, out_of_fold_rows, reads=TextSpaceRows, texts=lambda _: True
    ),
    "decoder": LabelKind(
        DecoderClassifier,
        {"prompts": list(PROMPTS)},
        rows_held_out,
        reads=TokenRows,
        texts=lambda estimator: bool(estimator.queries == "text"),
    ),
}
"""Kinds that give a row any number of labels."""

KINDS: dict[str, Kind[Any]] = {**CLASS_KINDS, **LABEL_KINDS}
"""Every kind that can be trained."""


def make_estimator(kind: str, params: Mapping[str, Any]) -> Any:
    """Return an unfitted estimator of a kind. Raises UnknownKind, UnknownParameter with the names that exist."""
    if kind not in KINDS:
        raise UnknownKind(kind, KINDS)
    chosen = KINDS[kind]
    known = sorted(chosen.estimator().get_params())
    for name in params:
        if name not in known:
            raise UnknownParameter(name, known)
    return chosen.estimator(**{**chosen.defaults, **params})
