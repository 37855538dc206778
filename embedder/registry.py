"""From a name to an encoder. Importing this loads no model and no torch."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from embedder.derived.stored import StoredAdapter, split_name, stored_names
from embedder.encoder import Blueprint, Encoder
from embedder.encoders import lite
from embedder.engines.cache import default_folder
from embedder.errors import UnknownEncoder, WeightsError
from embedder.weights import licence

ENTRY_POINTS = "headwater.encoders"
"""Third-party encoders: an entry point `<name>` serves ``<name>`` and ``<name>/<anything>``. It refers to a
callable ``(name, *, backend, cache_dir, threads) -> Encoder``, the arguments as of `load`;
`embedder.engines.graph_encoder.assemble` helps to write one, `embedder.checks.check_encoder` to test it."""

_PATTERNS = (
    "melstat",
    "openclip/<model>/<pretrained>",
    "openclip/<model>@<checkpoint file>",
    "openclip@<folder>",
    "imagebind/huge",
    "imagebind/huge@<checkpoint file>",
    "mlcd/<id>",
    "mlcd@<folder>",
    "timm/<model>@<file>",
)


def load(
    name: str,
    *,
    backend: str = "auto",
    cache_dir: Path | None = None,
    threads: int | None = None,
    adapters: Path | None = None,
    accept_noncommercial: bool = False,
) -> Encoder:
    """The encoder of that name, ready to run.

    Args:
        name: see `names`.
        backend: auto, torch or openvino, optionally with a device and a precision: torch-fp32, torch-cuda-bf16,
            openvino-bf16; torch also with -compile (the default on CUDA) or -eager. auto: torch on a GPU, OpenVINO
            on a CPU.
        cache_dir: for converted models and reference vectors; the user's cache folder when None.
        threads: of the engine on a CPU; its own choice when None.
        adapters: folder of the adapters of derived encoders, ``<encoder>+mlcd-<version>`` and
            ``<encoder>+tokens-<version>``; none is known when None.
        accept_noncommercial: that the use is not commercial, which the weights of ImageBind want.

    Raises UnknownEncoder, LicenceNotAccepted, WeightsError (also for an adapter that is not there), and ValueError for
    an unknown backend.
    """
    from embedder.engines import graph_encoder

    if derived := split_name(name):
        from embedder.derived.encoders import derive

        parent, adapter = derived
        stored = _adapter(name, adapter, adapters)
        base = load(
            parent,
            backend=backend,
            cache_dir=cache_dir,
            threads=threads,
            adapters=adapters,
            accept_noncommercial=accept_noncommercial,
        )
        return derive(base, stored)
    if name == "melstat":
        from embedder.encoders.melstat import MelStatistics

        return MelStatistics()
    folder = cache_dir or default_folder()
    if name.startswith("imagebind/"):
        licence.check("imagebind", accepted=accept_noncommercial, folder=folder)
    if plan := _blueprint(name, folder):
        return graph_encoder.assemble(name, plan, backend, cache_dir, threads)
    if plugin := _plugins().get(name.partition("/")[0]):
        encoder: Encoder = plugin.load()(name, backend=backend, cache_dir=cache_dir, threads=threads)
        return encoder
    raise UnknownEncoder(name, names(adapters))


def names(adapters: Path | None = None) -> list[str]:
    """What `load` takes, with patterns where there are too many to list, and the derived encoders in `adapters`."""
    return [*lite.RECORDS, *_PATTERNS, *sorted(_plugins()), *stored_names(adapters)]


def _blueprint(name: str, folder: Path) -> Blueprint | None:
    """Of a built-in encoder; None for any other name."""
    if name in lite.RECORDS:
        return lite.blueprint(name)
    family, _, rest = name.partition("/")
    if name.startswith("openclip@") or (family == "openclip" and rest):
        from embedder.encoders import openclip

        return openclip.blueprint(name.removeprefix("openclip").removeprefix("/"))
    if family == "imagebind" and rest:
        from embedder.encoders import imagebind

        return imagebind.blueprint(rest, folder)
    if name.startswith(("mlcd/", "mlcd@")):
        from embedder.encoders import mlcd

        return mlcd.blueprint(name)
    if family == "timm" and rest:
        from embedder.encoders import timm_tower

        return timm_tower.blueprint(rest)
    return None


def _adapter(name: str, adapter: str, adapters: Path | None) -> StoredAdapter:
    folder = adapters / adapter if adapters else None
    if folder is None or not folder.is_dir():
        raise WeightsError(
            f"the adapter of {name!r} is not in {str(adapters or 'any folder')!r}; name the folder that has it with "
            f"HEADWATER_ADAPTERS, or copy {adapter} there; found: {', '.join(stored_names(adapters)) or 'none'}"
        )
    return StoredAdapter.load(folder)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
