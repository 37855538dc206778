"""The command that checks an installation: doctor."""

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import typer

from embedder import cpus
from services.cli import extras, options, terminal
from services.cli.options import HeadsOption, JsonOption, StoreOption
from services.settings import Settings
from store.errors import NoStore

app = typer.Typer()


class Finding(NamedTuple):
    """The result of one check. `broken` is True if someone must do something before all that is there can be used."""

    thing: str
    text: str
    broken: bool = False


Findings = Iterator[Finding]


@app.command()
def doctor(store: StoreOption = None, heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Check the installation, the machine, the plugins, the store and the heads.

    The exit code is 1 if a check fails, if a head or an adapter is refused, or if HEADWATER_ENCODERS names an encoder
    that does not exist. No encoder is loaded, so missing weights are not found.
    """
    settings = options.settings(store=store, heads=heads)
    found: list[Finding] = []
    for check in (_machine, _packages, _encoders, _store, _heads, _adapters):
        try:
            found += check(settings)
        except Exception as error:
            found.append(Finding(check.__name__.lstrip("_"), f"BROKEN: {type(error).__name__}: {error}", broken=True))
    texts = {each.thing: each.text for each in found}
    if as_json:
        terminal.show(texts, as_json=True)
    else:
        terminal.pairs(texts)
    raise typer.Exit(1 if any(each.broken for each in found) else 0)


def _machine(settings: Settings) -> Findings:
    yield Finding("python", f"{platform.python_version()} at {sys.executable}")
    yield Finding(
        "machine", f"{platform.system()} {platform.machine()}, {cpus.usable()} of {os.cpu_count()} cores usable"
    )
    yield Finding("cache", f"{settings.cache}{'' if settings.cache.is_dir() else ' (made when first needed)'}")
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    yield Finding("gpu", torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use")


def _packages(_: Settings) -> Findings:
    declared = extras.declared()
    for place in dict.fromkeys((extras.CORE, *sorted(declared.values()))):
        for name in sorted(each for each in declared if declared[each] == place):
            try:
                yield Finding(name, version(name))
            except PackageNotFoundError:
                yield Finding(name, f"not installed: {extras.command(place)}")


def _encoders(settings: Settings) -> Findings:
    from embedder import registry

    for each in registry.plugins():
        yield Finding(f"plugin {each.name}", f"{each.loader}, of the package {each.distribution} {each.version}")
    for name in settings.encoders:
        if not registry.is_known(name, settings.adapters):
            yield Finding(f"encoder {name}", "unknown, but HEADWATER_ENCODERS names it", broken=True)


def _store(settings: Settings) -> Findings:
    try:
        opened = options.open_store(settings)
    except NoStore as error:
        yield Finding(
            "store", f"none yet at {error.uri}; `headwater ingest` makes it" if error.uri else "none is chosen"
        )
        return
    assets = opened.assets.count()
    yield Finding("store", opened.uri if assets else f"{opened.uri} (empty: fill it with `headwater ingest`)")
    yield Finding("assets", f"{assets:,}")
    yield Finding("quarantine", f"{opened.quarantine.count():,}")
    for table in opened.encoders():
        yield Finding(f"vectors of {table.name}", f"{table.rows:,} × {table.spec.dim} ({table.fingerprint[:12]})")
    for task, rows in opened.labels.tasks().items():
        yield Finding(f"task {task}", f"{rows:,} labelled")


def _heads(settings: Settings) -> Findings:
    from classifiers.published.registry import Registry

    heads, refused = Registry(settings.heads).load_all()
    yield Finding("heads", _contents(settings.heads, sorted(heads), "`headwater train` makes it"))
    for name, reason in refused.items():
        yield Finding(f"head {name}", f"refused: {reason}", broken=True)


def _adapters(settings: Settings) -> Findings:
    from embedder.derived.stored import StoredAdapter, adapter_folders
    from embedder.errors import WeightsError

    found = []
    for folder in adapter_folders(settings.adapters):
        try:
            found.append(StoredAdapter.load(folder).name)
        except WeightsError as error:
            yield Finding(f"adapter {folder.name}", f"refused: {error}", broken=True)
    yield Finding("adapters", _contents(settings.adapters, found, "`headwater adapt` and `headwater condense` make it"))


def _contents(folder: Path, names: Sequence[str], maker: str) -> str:
    if not folder.is_dir():
        return f"none yet: the folder {folder} does not exist; {maker}"
    return f"{', '.join(names) or 'none yet'} (in the folder {folder})"
