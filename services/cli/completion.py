"""Shell completion of values: the names of encoders, heads, tasks and modalities that exist here."""

from collections.abc import Callable, Iterable

from embedder.spec import MODALITIES
from services.settings import Settings

KINDS = ("gaussian", "fusion", "mixture", "linear", "zeroshot", "labelwise", "bilinear", "bank", "decoder")
"""The kinds of heads. Written out, because `classifiers.training`, which defines them, imports scikit-learn."""

SPLITS = ("train", "val", "test")
"""The splits on which a head can be evaluated, written out for the same reason."""


def _starting(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a completion: the `names` that start with the typed text; none if they cannot be read."""

    def complete(incomplete: str) -> list[str]:
        try:
            return sorted(name for name in set(names()) if name.startswith(incomplete))
        except Exception:  # a traceback in the middle of a command line helps nobody
            return []

    return complete


@_starting
def encoder_names() -> Iterable[str]:
    from embedder import registry

    return (name for name in registry.names(Settings().adapters) if not set("<>[] …") & set(name))


@_starting
def head_names() -> Iterable[str]:
    from classifiers.published.registry import Registry

    return Registry(Settings().heads).names()


@_starting
def task_names() -> Iterable[str]:
    from store import Store

    store = Settings().store
    return Store.open(store).labels.tasks() if store else ()


@_starting
def modality_names() -> Iterable[str]:
    return MODALITIES


@_starting
def kind_names() -> Iterable[str]:
    return KINDS


@_starting
def split_names() -> Iterable[str]:
    return SPLITS


@_starting
def format_names() -> Iterable[str]:
    from services.jobs.datasets.formats import FORMATS

    return (*FORMATS, "folders")
