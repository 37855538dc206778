"""Commands around heads: train, evaluate, heads list|show|promote|diff."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.output import (
    AcceptOption,
    CpusOption,
    Engine,
    EngineOption,
    HeadsOption,
    JsonOption,
    RayAddressOption,
    StoreOption,
    WorkersOption,
)

app = typer.Typer()
heads_app = typer.Typer(help="List, show, promote and compare trained heads.", no_args_is_help=True)
app.add_typer(heads_app, name="heads")

NUMBERS_SHOWN = 10

NameArgument = Annotated[str, typer.Argument(help="name of a head; name@alias or name@version for one version")]


@app.command()
def train(
    task: Annotated[str, typer.Option("--task", "-t", help="labels to learn")],
    name: Annotated[str, typer.Option("--name", "-n", help="name of the head")],
    encoder: Annotated[list[str] | None, typer.Option("--encoder", "-e", help="repeat for several")] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", "-k", help="gaussian, fusion, mixture, linear, zeroshot, labelwise, bilinear or decoder"
        ),
    ] = "gaussian",
    set_: Annotated[list[str] | None, typer.Option("--set", help="hyper-parameter, as name=value")] = None,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    engine: EngineOption = Engine.LOCAL,
    ray_address: RayAddressOption = None,
    workers: WorkersOption = None,
    cpus: CpusOption = 1,
    accept_noncommercial: AcceptOption = None,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a head from stored vectors, calibrate it on validation rows or folds, publish it with a report on test."""
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import train as train_head
    from services.jobs.texts import text_sides
    from store import Store

    settings = output.settings(
        store=store, heads=heads, ray_address=ray_address, accept_noncommercial=accept_noncommercial
    )
    opened = Store.open(settings.store, must_exist=True)
    with ExitStack() as stack:
        elsewhere = None
        if engine is Engine.RAY:
            from services.jobs.ray import Cluster
            from services.jobs.ray.fit import statistics

            elsewhere = stack.enter_context(statistics(Cluster(settings.ray_address, workers, cpus)))
        trained = train_head(
            opened,
            Registry(settings.heads),
            task=task,
            encoders=encoder or ["lite0"],
            kind=kind,
            name=name,
            params=dict(output.assignment(text) for text in set_ or ()),
            seed=seed,
            texts=text_sides(opened, settings),
            elsewhere=elsewhere,
        )
    report = trained.report
    figures = report.summaries()
    result = {"name": name, "version": trained.version, "kind": kind, "report": str(trained.path / "report.md")}
    if as_json:
        ood = report.ood.to_dict() if report.ood else None
        print(
            json.dumps(
                result
                | {
                    "rows": report.rows,
                    "notes": report.notes,
                    "warnings": trained.warnings,
                    "figures": figures,
                    "ood": ood,
                }
            )
        )
        return
    output.show(result, as_json=False)
    _show_figures(figures)
    if report.ood:
        output.out.print("\n".join(report.ood.markdown()))
    for warning in trained.warnings:
        output.err.print(f"warning: {warning}")
    for remark in report.remarks:
        output.out.print(f"note: {remark}")


FIGURES = {
    "map": "mAP",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "f1_at_3": "F1@3",
    "f1_at_5": "F1@5",
    "nll": "NLL",
    "ece": "ECE",
    "aurc": "AURC",
}
"""Figures in tables, in this order; a head has those of its kind."""


def _show_figures(figures: Mapping[str, Mapping[str, float]]) -> None:
    if not figures:
        return
    first = next(iter(figures.values()))
    names = [name for name in FIGURES if name in first]
    accuracy = ["accuracy (95 % interval)"] if "accuracy" in first else []
    rows = [
        (
            split,
            f"{found['rows']:,.0f}",
            *(_interval(found) for _ in accuracy),
            *(f"{found[name]:.3f}" for name in names),
        )
        for split, found in figures.items()
    ]
    output.table(("split", "rows", *accuracy, *(FIGURES[name] for name in names)), rows)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['accuracy']:.3f} ({found['accuracy_low']:.3f} to {found['accuracy_high']:.3f})"


@app.command()
def evaluate(
    head: NameArgument,
    task: Annotated[str | None, typer.Option("--task", "-t", help="another task than the head's own")] = None,
    split: Annotated[str, typer.Option(help="train, val, test or ood")] = "test",
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a published head on what the store holds now."""
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import evaluate_head
    from store import Store

    settings = output.settings(store=store, heads=heads)
    published = Registry(settings.heads).load(head)
    found = evaluate_head(Store.open(settings.store, must_exist=True), published, task=task, split=split)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        _show_figures({split: found.summary()})
        output.out.print("\n".join(found.weakest()))


@heads_app.command("list")
def list_(heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Every head with its versions and aliases."""
    from classifiers.published.registry import Registry

    registry = Registry(output.settings(heads=heads).heads)
    found: dict[str, Any] = {
        name: {"versions": registry.versions(name), "aliases": registry.aliases(name)} for name in registry.names()
    }
    if as_json:
        print(json.dumps(found))
        return
    rows = [
        (
            name,
            version,
            " ".join(alias for alias, target in sorted(each["aliases"].items()) if target == version),
        )
        for name, each in found.items()
        for version in each["versions"]
    ]
    output.table(("head", "version", "aliases"), rows)


@heads_app.command()
def show(name: NameArgument, heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """The manifest of one version."""
    from classifiers.published.registry import Registry

    head = Registry(output.settings(heads=heads).heads).load(name)
    manifest = {"name": head.name, "version": head.version} | head.manifest.model_dump(mode="json")
    if as_json:
        print(json.dumps(manifest))
    else:
        output.out.print_json(json.dumps(_shortened(manifest)))


def _shortened(value: Any) -> Any:
    """The same with long lists of numbers told by their length; `--json` gives them whole."""
    if isinstance(value, dict):
        return {name: _shortened(each) for name, each in value.items()}
    if isinstance(value, list) and len(value) > NUMBERS_SHOWN and all(isinstance(each, float) for each in value):
        return f"{len(value)} numbers from {value[0]:.4g} to {value[-1]:.4g}"
    return value


@heads_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="name of a head")],
    alias: Annotated[str, typer.Argument(help="e.g. production")],
    version: Annotated[str, typer.Argument(help="a version, or an alias that points to one")] = "latest",
    heads: HeadsOption = None,
) -> None:
    """Point an alias at a version; running services follow from their next request on."""
    from classifiers.published.registry import Registry

    registry = Registry(output.settings(heads=heads).heads)
    registry.promote(name, alias, version)
    output.out.print(f"{name}@{alias} is now {registry.aliases(name)[alias]}")


@heads_app.command()
def diff(
    name: Annotated[str, typer.Argument(help="name of a head")],
    old: Annotated[str, typer.Argument(help="version or alias")],
    new: Annotated[str, typer.Argument(help="version or alias")],
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs between the manifests of two versions."""
    from classifiers.published.registry import Registry

    changed = Registry(output.settings(heads=heads).heads).diff(name, old, new)
    if as_json:
        print(json.dumps(changed))
    else:
        output.table(("entry", old, new), [(key, *values) for key, values in changed.items()])
