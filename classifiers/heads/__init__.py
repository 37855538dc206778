"""Heads: the part of a model that is trained here and served. They need only NumPy, and work on arrays, not files."""

from classifiers.heads.base import HEADS, Head
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.mixture import MixtureHead
from classifiers.heads.linear import LinearHead
from classifiers.heads.multilabel.bank.head import BankHead
from classifiers.heads.multilabel.bilinear import BilinearHead
from classifiers.heads.multilabel.decoder import DecoderHead
from classifiers.heads.multilabel.labelwise import LabelwiseHead
from classifiers.heads.zeroshot import ZeroShotHead

HEADS |= {
    head.kind: head
    for head in (
        FusionHead,
        GaussianHead,
        LinearHead,
        MixtureHead,
        ZeroShotHead,
        BankHead,
        BilinearHead,
        DecoderHead,
        LabelwiseHead,
    )
}
__all__ = [
    "HEADS",
    "BankHead",
    "BilinearHead",
    "DecoderHead",
    "FusionHead",
    "GaussianHead",
    "Head",
    "LabelwiseHead",
    "LinearHead",
    "MixtureHead",
    "ZeroShotHead",
]
