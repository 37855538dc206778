"""The kinds of head that can be trained, as data."""

from collections.abc import Mapping, Sequence
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
from classifiers.prompts import check_prompts, default_prompts
from classifiers.training.classes import ClassKind
from classifiers.training.fused_report import fusion_reports
from classifiers.training.kind import Kind
from classifiers.training.labels import LabelKind, fold_by_fold, out_of_fold_rows, rows_held_out
from classifiers.training.learning.few_shot import learn_named
from classifiers.training.learning.labelwise import choose_labelwise_penalty
from classifiers.training.learning.learn import learn_fusion, relearned
from classifiers.training.learning.linear import learn_linear
from classifiers.training.learning.mixture import learn_mixture
from classifiers.training.learning.streamed import learn_streamed, without_statistics
from classifiers.training.learning.tuning import AUTO
from classifiers.training.learning.zero_shot import named_classes, without_fold
from classifiers.training.rows.token_rows import TextSpaceRows, TokenRows

PROMPT_SET = "common"
"""Default prompts of `bilinear` and `decoder`. The bare name is no better for labels (mAP of the cosine on training
rows, lite0: coco18 0.478 → 0.481, emoji 0.045 → 0.041)."""

MOST_STEPS = 200
"""Maximum number of L-BFGS steps of `labelwise`. Tens of labels converge in fewer steps; hundreds of rare labels would
take a thousand steps and gain nothing in mAP."""

CLASS_KINDS: dict[str, ClassKind] = {
    "gaussian": ClassKind(GaussianClassifier, {"shrinkage": AUTO}, learn_streamed, without_statistics, parallel=True),
    "fusion": ClassKind(FusionClassifier, {}, learn_fusion, relearned, compare=fusion_reports),
    "mixture": ClassKind(MixtureClassifier, {"shrinkage": AUTO, "power": AUTO, "C": AUTO}, learn_mixture, relearned),
    "linear": ClassKind(LinearClassifier, {"C": AUTO}, learn_linear, relearned),
    "zeroshot": ClassKind(
        ZeroShotClassifier,
        {"shrinkage": AUTO, "bank_weight": AUTO},
        learn_named,
        without_fold,
        named_classes,
    ),
}
"""Kinds that give each row exactly one class."""

LABEL_KINDS: dict[str, LabelKind] = {
    "labelwise": LabelKind(
        LabelwiseClassifier, {"C": AUTO, "max_iter": MOST_STEPS}, fold_by_fold, choose=choose_labelwise_penalty
    ),
    "bilinear": LabelKind(BilinearClassifier, {"prompts": PROMPT_SET}, rows_held_out, folds=False),
    "bank": LabelKind(
        BankClassifier,
        {"prompts": PROMPT_SET},
        out_of_fold_rows,
        reads=TextSpaceRows,
        folds=False,
    ),
    "decoder": LabelKind(
        DecoderClassifier,
        {"prompts": PROMPT_SET},
        rows_held_out,
        reads=TokenRows,
        folds=False,
    ),
}
"""Kinds that give a row any number of labels."""

KINDS: dict[str, Kind[Any]] = {**CLASS_KINDS, **LABEL_KINDS}
"""Every kind that can be trained."""


def make_estimator(kind: str, params: Mapping[str, Any], encoders: Sequence[str] = ()) -> Any:
    """Return an unfitted estimator of a kind. Its `prompts` are templates, also if the name of a set was given.

    Args:
        encoders: names of the encoders whose vectors it will read, on which the default of `prompts` depends.

    Raises UnknownKind, UnknownParameter and BadParameter, with the names that exist.
    """
    if kind not in KINDS:
        raise UnknownKind(kind, KINDS)
    chosen = KINDS[kind]
    known = sorted(chosen.estimator().get_params())
    for name in params:
        if name not in known:
            raise UnknownParameter(name, known)
    given = {**chosen.defaults, **params}
    if "prompts" in known:  # a published head records the templates, whatever the name of a set means later
        prompts = given.get("prompts")
        given["prompts"] = list(default_prompts(encoders) if prompts is None else check_prompts(prompts))
    return chosen.estimator(**given)


def remade_estimator(kind: str, params: Mapping[str, Any]) -> Any:
    """Return an unfitted estimator with the parameters of a published head, see `still_known`."""
    return make_estimator(kind, still_known(kind, params))


def still_known(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a kind still has, of those that it had when a head was trained."""
    known = KINDS[kind].estimator().get_params()
    return {name: value for name, value in params.items() if name in known}
