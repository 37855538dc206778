"""The command that checks an installation: doctor."""

import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version

import typer

from services.cli import options, terminal
from services.cli.options import HeadsOption, JsonOption, StoreOption
from services.settings import Settings

app = typer.Typer()

PACKAGES = {
    "core": ("numpy", "pyarrow", "lancedb", "fastapi", "uvicorn", "safetensors", "pillow"),
    "train": ("scikit-learn", "scipy"),
    "cluster": ("faiss-cpu",),
    "embedding": ("torch", "torchvision", "timm", "open_clip_torch", "openvino", "transformers"),
    "export": ("onnxscript", "onnxruntime"),
}


@app.command()
def doctor(store: StoreOption = None, heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Check the installation, the machine, the store and the heads.

    The exit code is 1 if something is broken.
    """
    settings = options.settings(store=store, heads=heads)
    checks: tuple[Callable[[Settings], Iterator[tuple[str, str]]], ...] = (
        _machine,
        _packages,
        _store,
        _heads,
        _adapters,
    )
    found: dict[str, str] = {}
    broken = False
    for check in checks:
        try:
            found |= dict(check(settings))
        except Exception as error:
            broken = True
            found[check.__name__.lstrip("_")] = f"BROKEN: {type(error).__name__}: {error}"
    terminal.show(found, as_json=as_json)
    raise typer.Exit(1 if broken else 0)


def _machine(settings: Settings) -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} at {sys.executable}"
    yield "machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield "cache", f"{settings.cache} ({'exists' if settings.cache.is_dir() else 'made when first needed'})"
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    yield "gpu", torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"


def _packages(_: Settings) -> Iterator[tuple[str, str]]:
    for extra, names in PACKAGES.items():
        for name in names:
            try:
                yield name, version(name)
            except PackageNotFoundError:
                yield name, f"not installed: pip install 'headwater[{extra}]'"


def _store(settings: Settings) -> Iterator[tuple[str, str]]:
    if not settings.store:
        yield "store", "none is set"
        return
    from store import Store

    opened = Store.open(settings.store)
    assets = opened.assets.count()
    yield "store", settings.store if assets else f"{settings.store} (empty: fill it with `headwater ingest`)"
    yield "assets", f"{assets:,}"
    yield "quarantine", f"{opened.quarantine.count():,}"
    for table in opened.encoders():
        yield f"vectors of {table.name}", f"{table.rows:,} × {table.spec.dim} ({table.fingerprint[:12]})"
    for task, rows in opened.labels.tasks().items():
        yield f"task {task}", f"{rows:,} labelled"


def _heads(settings: Settings) -> Iterator[tuple[str, str]]:
    from classifiers.published.registry import Registry

    heads, refused = Registry(settings.heads).load_all()
    yield "heads", f"{settings.heads}: {', '.join(sorted(heads)) or 'none yet'}"
    for name, reason in refused.items():
        yield f"head {name}", f"refused: {reason}"


def _adapters(settings: Settings) -> Iterator[tuple[str, str]]:
    from embedder.derived.stored import StoredAdapter, adapter_folders
    from embedder.errors import WeightsError

    found = []
    for folder in adapter_folders(settings.adapters):
        try:
            found.append(StoredAdapter.load(folder).name)
        except WeightsError as error:
            yield f"adapter {folder.name}", f"refused: {error}"
    yield "adapters", f"{settings.adapters}: {', '.join(found) or 'none yet'}"
