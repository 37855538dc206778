"""Heads: what is served. NumPy only; they see arrays, never files, stores or HTTP."""

from classifiers.heads.base import Head
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.mixture import MixtureHead
from classifiers.heads.linear import LinearHead
from classifiers.heads.multilabel.bilinear import BilinearHead
from classifiers.heads.multilabel.decoder import DecoderHead
from classifiers.heads.multilabel.labelwise import LabelwiseHead
from classifiers.heads.zeroshot import ZeroShotHead

HEADS: dict[str, type[Head]] = {
    head.kind: head
    for head in (
        FusionHead,
        GaussianHead,
        LinearHead,
        MixtureHead,
        ZeroShotHead,
        BilinearHead,
        DecoderHead,
        LabelwiseHead,
    )
}
"""Every kind of head, by the name that artifacts carry. The last three give a row any number of labels."""

__all__ = [
    "HEADS",
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
