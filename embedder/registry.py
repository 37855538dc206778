"""The registry: `load` makes an encoder from its name. Importing this module loads no model and no torch.

To add a family of encoders, add a row to `FAMILIES` and a module with a `Loader`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

from embedder.derived.stored import StoredAdapter, split_name, stored_names
from embedder.encoder import Encoder
from embedder.engines.cache import default_folder
from embedder.errors import AdapterMissing, UnknownEncoder
from embedder.weights import licence

ENTRY_POINTS = "headwater.encoders"
"""Group of the entry points of third-party encoders. An entry point `<name>` is a `Loader` of ``<name>`` and of
``<name>/<anything>``. `embedder.engines.graph_encoder.assemble` helps to write one, `embedder.checks.check_encoder` to
test it."""


class Loader(Protocol):
    """Makes the encoders of a family. Arguments as for `load`; `name` is the whole name.

    Loaders also take the arguments of `load` that their family names in `Family.confirmations`.
    """

    def __call__(self, name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Encoder: ...


@dataclass(frozen=True, slots=True)
class Family:
    """A family of built-in encoders.

    Attributes:
        loader: ``module:function`` of its `Loader`.
        names: how its names look. ``<…>`` means any text.
        notice: what its licence says, if that does not allow every use.
        confirmations: further arguments of `load` that its loader takes: ``trust_checkpoint`` if it reads files of
            pickled tensors, ``accept_noncommercial`` if each of its models has a licence of its own.
    """

    loader: str
    names: tuple[str, ...]
    notice: str | None = None
    confirmations: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """True if `name` is one of `names`, or begins like one that has a ``<``."""
        return any(_fits(name, *pattern.partition("<")[:2]) for pattern in self.names)


def _fits(name: str, fixed: str, is_open: str) -> bool:
    return len(name) > len(fixed) and name.startswith(fixed) if is_open else name == fixed


@dataclass(frozen=True, slots=True)
class Plugin:
    """A third-party encoder: an entry point of the group `ENTRY_POINTS`. Its module is imported when it is loaded.

    Attributes:
        name: name of the encoder, and the start of the names of its variants.
        loader: ``module:function`` of its `Loader`.
        distribution, version: the package that installed it.
    """

    name: str
    loader: str
    distribution: str
    version: str


_TRUST, _ACCEPT = "trust_checkpoint", "accept_noncommercial"

FAMILIES: Mapping[str, Family] = {
    "lite": Family(f"{__package__}.encoders.lite:load", ("lite0", "lite1", "lite2")),
    "melstat": Family(f"{__package__}.encoders.melstat:load", ("melstat",)),
    "openclip": Family(
        f"{__package__}.encoders.openclip:load",
        ("openclip/<model>/<pretrained>", "openclip/<model>@<checkpoint file>", "openclip@<folder>"),
        confirmations=(_TRUST,),
    ),
    "imagebind": Family(
        f"{__package__}.encoders.imagebind:load",
        ("imagebind/huge", "imagebind/huge@<checkpoint file>"),
        notice="ImageBind's code and weights are Meta's, under CC BY-NC 4.0 "
        "(https://creativecommons.org/licenses/by-nc/4.0/; the LICENSE file beside them is CC BY-NC-SA 4.0): with "
        "credit to Girdhar et al., ImageBind, CVPR 2023, and not for commercial use. Vectors and heads made with them "
        "may be bound by it too",
        confirmations=(_TRUST,),
    ),
    "mlcd": Family(f"{__package__}.encoders.mlcd:load", ("mlcd/<id>", "mlcd@<folder>")),
    "timm": Family(
        f"{__package__}.encoders.timm_tower:load",
        ("timm/<model>", "timm/<model>@<file>"),
        confirmations=(_TRUST, _ACCEPT),
    ),
    "hf": Family(
        f"{__package__}.encoders.hf:load",
        ("hf/<owner>/<repository>", "hf/<owner>/<repository>@<revision>", "hf@<folder>"),
        confirmations=(_ACCEPT,),
    ),
}


def load(
    name: str,
    *,
    backend: str = "auto",
    cache_dir: Path | None = None,
    threads: int | None = None,
    adapters: Path | None = None,
    accept_noncommercial: bool = False,
    trust_checkpoint: bool = False,
) -> Encoder:
    """Return the encoder of that name, ready to run.

    Args:
        name: see `names`.
        backend: auto, torch or openvino, optionally with a device and a precision: torch-fp32, torch-cuda-bf16,
            openvino-bf16; for torch also -compile (the default on CUDA) or -eager. auto means torch on a GPU and
            OpenVINO on a CPU. Without a precision, the fastest one that keeps this encoder's vectors is chosen; fp8
            (torch-cuda-fp8) is used only if it is named.
        cache_dir: folder for converted models and reference vectors; `embedder.engines.cache.default_folder` when None.
        threads: threads of the engine on a CPU; the engine's own choice when None.
        adapters: folder of the adapters of derived encoders, ``<encoder>+mlcd-<version>`` and
            ``<encoder>+tokens-<version>``; without it, no derived encoder is known.
        accept_noncommercial: True confirms that the use is not commercial, which the licences of ImageBind and of some
            weights on a hub demand.
        trust_checkpoint: True confirms that whoever made the checkpoint is trusted, which TorchScript archives need:
            reading them may run code.

    Raises UnknownEncoder, LicenceNotAccepted, WeightsError (AdapterMissing for an adapter that is not there,
    CheckpointNotTrusted for a TorchScript archive), and ValueError for an unknown backend.
    """
    folder = cache_dir or default_folder()
    if derived := split_name(name):
        from embedder.derived.encoders import DerivedEncoder

        stored = _adapter(name, derived[1], adapters)
        parent = load(
            derived[0],
            backend=backend,
            cache_dir=folder,
            threads=threads,
            adapters=adapters,
            accept_noncommercial=accept_noncommercial,
            trust_checkpoint=trust_checkpoint,
        )
        return DerivedEncoder(parent, stored)
    word, family = _family(name, adapters)
    if family.notice:
        licence.check(name, family.notice, accepted=accept_noncommercial, marker=folder / f"{word}-licence-told")
    loader: Loader = resolve_name(family.loader)
    confirmed = {_TRUST: trust_checkpoint, _ACCEPT: accept_noncommercial}
    more = {argument: confirmed[argument] for argument in family.confirmations}
    return loader(name, backend=backend, cache_dir=folder, threads=threads, **more)


def names(adapters: Path | None = None) -> list[str]:
    """Return the names that `load` takes: patterns where there are too many, and the derived encoders in `adapters`."""
    built_in = [name for family in FAMILIES.values() for name in family.names]
    return [*built_in, *sorted(_plugins()), *stored_names(adapters)]


def is_known(name: str, adapters: Path | None = None) -> bool:
    """True if a family, a plugin or a stored adapter has the name. The weights may still be missing."""
    if derived := split_name(name):
        return name in stored_names(adapters) and is_known(derived[0], adapters)
    return any(family.takes(name) for family in (*FAMILIES.values(), *_plugins().values()))


def _family(name: str, adapters: Path | None) -> tuple[str, Family]:
    """Return the built-in family or the plugin that takes `name`, with its key. Raises UnknownEncoder."""
    for word, family in [*FAMILIES.items(), *_plugins().items()]:
        if family.takes(name):
            return word, family
    raise UnknownEncoder(name, names(adapters))


def _adapter(name: str, adapter: str, adapters: Path | None) -> StoredAdapter:
    folder = adapters / adapter if adapters else None
    if folder is None or not folder.is_dir():
        raise AdapterMissing(name, adapter, adapters, stored_names(adapters))
    return StoredAdapter.load(folder)


def _plugins() -> dict[str, Family]:
    return {each.name: Family(each.loader, (each.name, f"{each.name}/<any>")) for each in plugins()}


def plugins() -> list[Plugin]:
    """Return the installed third-party encoders, without importing them."""
    points: list[EntryPoint] = [*entry_points(group=ENTRY_POINTS)]
    return [_plugin(each) for each in points]


def _plugin(point: EntryPoint) -> Plugin:
    distribution = (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")
    return Plugin(point.name, f"{point.module}:{point.attr}", *distribution)
