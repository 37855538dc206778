"""Heads: what is served. NumPy only; they see arrays, never files, stores or HTTP."""

from classifiers.heads.base import Head
from classifiers.heads.fusion import FusionHead
from classifiers.heads.gaussian import GaussianHead
from classifiers.heads.linear import LinearHead
from classifiers.heads.mixture import MixtureHead

HEADS: dict[str, type[Head]] = {head.kind: head for head in (FusionHead, GaussianHead, LinearHead, MixtureHead)}
"""Every kind of head, by the name that artifacts carry."""

__all__ = ["HEADS", "FusionHead", "GaussianHead", "Head", "LinearHead", "MixtureHead"]
