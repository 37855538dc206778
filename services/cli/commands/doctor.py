"""The command that checks an installation: doctor."""

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from embedder import cpus
from services.cli import extras, options, terminal
from services.cli.options import HeadsOption, JsonOption, StoreOption
from services.settings import Settings
from store.errors import NoStore

app = typer.Typer()

Findings = Iterator[tuple[str, str]]
"""Pairs: the thing that was checked, and the finding."""


@app.command()
def doctor(store: StoreOption = None, heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Check the installation, the machine, the store and the heads.

    The exit code is 1 if something is broken.
    """
    settings = options.settings(store=store, heads=heads)
    found: dict[str, str] = {}
    broken = False
    for check in (_machine, _packages, _store, _heads, _adapters):
        try:
            found |= dict(check(settings))
        except Exception as error:
            broken = True
            found[check.__name__.lstrip("_")] = f"BROKEN: {type(error).__name__}: {error}"
    if as_json:
        terminal.show(found, as_json=True)
    else:
        terminal.pairs(found)
    raise typer.Exit(1 if broken else 0)


def _machine(settings: Settings) -> Findings:
    yield "python", f"{platform.python_version()} at {sys.executable}"
    yield "machine", f"{platform.system()} {platform.machine()}, {cpus.usable()} of {os.cpu_count()} cores usable"
    yield "cache", f"{settings.cache}{'' if settings.cache.is_dir() else ' (made when first needed)'}"
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    yield "gpu", torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use"


def _packages(_: Settings) -> Findings:
    declared = extras.declared()
    for place in dict.fromkeys((extras.CORE, *sorted(declared.values()))):
        for name in sorted(each for each in declared if declared[each] == place):
            try:
                yield name, version(name)
            except PackageNotFoundError:
                yield name, f"not installed: {extras.command(place)}"


def _store(settings: Settings) -> Findings:
    try:
        opened = options.open_store(settings)
    except NoStore as error:
        yield "store", f"none yet at {error.uri}; `headwater ingest` makes it" if error.uri else "none is chosen"
        return
    assets = opened.assets.count()
    yield "store", opened.uri if assets else f"{opened.uri} (empty: fill it with `headwater ingest`)"
    yield "assets", f"{assets:,}"
    yield "quarantine", f"{opened.quarantine.count():,}"
    for table in opened.encoders():
        yield f"vectors of {table.name}", f"{table.rows:,} × {table.spec.dim} ({table.fingerprint[:12]})"
    for task, rows in opened.labels.tasks().items():
        yield f"task {task}", f"{rows:,} labelled"


def _heads(settings: Settings) -> Findings:
    from classifiers.published.registry import Registry

    heads, refused = Registry(settings.heads).load_all()
    yield "heads", _contents(settings.heads, sorted(heads), "`headwater train` makes it")
    for name, reason in refused.items():
        yield f"head {name}", f"refused: {reason}"


def _adapters(settings: Settings) -> Findings:
    from embedder.derived.stored import StoredAdapter, adapter_folders
    from embedder.errors import WeightsError

    found = []
    for folder in adapter_folders(settings.adapters):
        try:
            found.append(StoredAdapter.load(folder).name)
        except WeightsError as error:
            yield f"adapter {folder.name}", f"refused: {error}"
    yield "adapters", _contents(settings.adapters, found, "`headwater adapt` and `headwater condense` make it")


def _contents(folder: Path, names: Sequence[str], maker: str) -> str:
    if not folder.is_dir():
        return f"none yet: the folder {folder} does not exist; {maker}"
    return f"{', '.join(names) or 'none yet'} (in the folder {folder})"
