"""Heads: what is served. NumPy only; they see arrays, never files, stores or HTTP."""

from classifiers.heads.base import Head
from classifiers.heads.bilinear import BilinearHead
from classifiers.heads.decoder import DecoderHead
from classifiers.heads.fusion import FusionHead
from classifiers.heads.gaussian import GaussianHead
from classifiers.heads.labelwise import LabelwiseHead
from classifiers.heads.linear import LinearHead
from classifiers.heads.mixture import MixtureHead
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
