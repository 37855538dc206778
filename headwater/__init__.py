"""Headwater: embed once, train heads in seconds, serve them over HTTP. This package is the front door in Python.

Everything is imported at its first use, so `import headwater` costs next to nothing. An installed Headwater has only
this one package at the top: `headwater.services`, `headwater.store`, `headwater.classifiers` and `headwater.embedder`
are below it. In a checkout they are at the top themselves, and the longer names work too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headwater import _checkout

if TYPE_CHECKING:
    from classifiers.fit.fusion.estimator import FusionClassifier
    from classifiers.fit.gaussian.estimator import GaussianClassifier
    from classifiers.fit.gaussian.mixture import MixtureClassifier
    from classifiers.fit.linear import LinearClassifier
    from classifiers.fit.multilabel.bilinear import BilinearClassifier
    from classifiers.fit.multilabel.decoder import DecoderClassifier
    from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
    from classifiers.fit.zeroshot import ZeroShotClassifier
    from headwater.heads import load_head
    from headwater.tables import to_arrow
    from services.client import AsyncClient, Client
    from store import Store

    __version__: str

__all__ = [
    "AsyncClient",
    "BilinearClassifier",
    "Client",
    "DecoderClassifier",
    "FusionClassifier",
    "GaussianClassifier",
    "LabelwiseClassifier",
    "LinearClassifier",
    "MixtureClassifier",
    "Store",
    "ZeroShotClassifier",
    "__version__",
    "load_head",
    "to_arrow",
]

_HOMES = {
    "AsyncClient": "services.client",
    "BilinearClassifier": "classifiers.fit.multilabel.bilinear",
    "Client": "services.client",
    "DecoderClassifier": "classifiers.fit.multilabel.decoder",
    "FusionClassifier": "classifiers.fit.fusion.estimator",
    "GaussianClassifier": "classifiers.fit.gaussian.estimator",
    "LabelwiseClassifier": "classifiers.fit.multilabel.labelwise",
    "LinearClassifier": "classifiers.fit.linear",
    "MixtureClassifier": "classifiers.fit.gaussian.mixture",
    "Store": "store",
    "ZeroShotClassifier": "classifiers.fit.zeroshot",
    "load_head": "heads",
    "to_arrow": "tables",
}
"""Name → the module below `headwater` that has it."""

_EXTRAS = {"sklearn": "train", "scipy": "train", "torch": "embedding"}

_checkout.install()


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("headwater.services.web.release").own_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'headwater' has no attribute {name!r}")
    try:
        return getattr(import_module(f"headwater.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        remedy = f"{name} needs {missing}: pip install 'headwater[{_EXTRAS[missing]}]'"
        raise ModuleNotFoundError(remedy, name=error.name) from error


def __dir__() -> list[str]:
    return sorted(__all__)
