"""From a name to an encoder. Importing this loads no model and no torch."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from embedder import lite
from embedder.adapter import StoredAdapter, split_name, stored_names
from embedder.encoder import Encoder
from embedder.errors import UnknownEncoder, WeightsError

ENTRY_POINTS = "headwater.encoders"
"""Third-party encoders: an entry point `<name>` serves ``<name>`` and ``<name>/<anything>``. It refers to a
callable ``(name, *, backend, cache_dir) -> Encoder``; `embedder.graph_encoder.assemble` helps to write one."""


def load(
    name: str,
    *,
    backend: str = "auto",
    cache_dir: Path | None = None,
    threads: int | None = None,
    adapters: Path | None = None,
) -> Encoder:
    """The encoder of that name, ready to run.

    Args:
        name: see `names`.
        backend: auto, torch or openvino, optionally with a device and a precision: torch-fp32, torch-cuda-bf16,
            openvino-bf16; torch also with -compile (the default on CUDA) or -eager. auto: torch on a GPU, OpenVINO
            on a CPU.
        cache_dir: for converted models and reference vectors; the user's cache folder when None.
        threads: of the engine on a CPU; its own choice when None.
        adapters: folder of the adapters of derived encoders, ``<encoder>+mlcd-<version>``; none is known when None.

    Raises UnknownEncoder, WeightsError (also for an adapter that is not there), and ValueError for an unknown backend.
    """
    from embedder import graph_encoder

    if derived := split_name(name):
        from embedder.adapted import AdaptedEncoder

        parent, version = derived
        stored = _adapter(name, version, adapters)
        base = load(parent, backend=backend, cache_dir=cache_dir, threads=threads, adapters=adapters)
        return AdaptedEncoder(base, stored)
    family, _, rest = name.partition("/")
    if name in lite.RECORDS:
        return graph_encoder.assemble(name, lite.blueprint(name), backend, cache_dir, threads)
    if name == "melstat":
        from embedder.melstat import MelStatistics

        return MelStatistics()
    if family == "openclip" and rest:
        from embedder import openclip

        return graph_encoder.assemble(name, openclip.blueprint(rest), backend, cache_dir, threads)
    if plugin := _plugins().get(family):
        encoder: Encoder = plugin.load()(name, backend=backend, cache_dir=cache_dir)
        return encoder
    raise UnknownEncoder(name, names(adapters))


def names(adapters: Path | None = None) -> list[str]:
    """What `load` takes, with patterns where there are too many to list, and the derived encoders in `adapters`."""
    patterns = ["melstat", "openclip/<model>/<pretrained>", "openclip/<model>@<checkpoint file>"]
    return [*lite.RECORDS, *patterns, *sorted(_plugins()), *stored_names(adapters)]


def _adapter(name: str, version: str, adapters: Path | None) -> StoredAdapter:
    folder = adapters / f"mlcd-{version}" if adapters else None
    if folder is None or not folder.is_dir():
        raise WeightsError(
            f"the adapter of {name!r} is not in {str(adapters or 'any folder')!r}; name the folder that has it with "
            f"HEADWATER_ADAPTERS, or copy mlcd-{version} there; found: {', '.join(stored_names(adapters)) or 'none'}"
        )
    return StoredAdapter.load(folder)


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
