"""Commands around heads: train, evaluate, heads list|show|promote|diff."""

import json
from typing import Annotated, Any

import typer

from services.cli import output
from services.cli.output import HeadsOption, JsonOption, StoreOption

app = typer.Typer()
heads_app = typer.Typer(help="List, show, promote and compare trained heads.", no_args_is_help=True)
app.add_typer(heads_app, name="heads")

NameArgument = Annotated[str, typer.Argument(help="name of a head; name@alias or name@version for one version")]


@app.command()
def train(
    task: Annotated[str, typer.Option("--task", "-t", help="labels to learn")],
    name: Annotated[str, typer.Option("--name", "-n", help="name of the head")],
    encoder: Annotated[list[str] | None, typer.Option("--encoder", "-e", help="repeat for several")] = None,
    kind: Annotated[str, typer.Option("--kind", "-k", help="gaussian or linear")] = "gaussian",
    set_: Annotated[list[str] | None, typer.Option("--set", help="hyper-parameter, as name=value")] = None,
    seed: Annotated[int, typer.Option(help="of everything random")] = 0,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a head from stored vectors, calibrate it on validation, publish it with a report on test."""
    from classifiers.train import train as train_head

    from classifiers.registry import Registry
    from store import Store

    settings = output.settings(store=store, heads=heads)
    trained = train_head(
        Store.open(settings.store),
        Registry(settings.heads),
        task=task,
        encoders=encoder or ["lite0"],
        kind=kind,
        name=name,
        params=dict(_assignment(text) for text in set_ or ()),
        seed=seed,
    )
    _show_trained(trained, as_json)


def _assignment(text: str) -> tuple[str, Any]:
    """``C=0.5`` → ("C", 0.5): the value is read as JSON, or else is the text itself."""
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set {text!r}: write name=value, e.g. --set shrinkage=0.1")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@heads_app.command("list")
def list_(heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Every head with its versions and aliases."""
    from classifiers.registry import Registry

    registry = Registry(output.settings(heads=heads).heads)
    found = {
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
    from classifiers.registry import Registry

    head = Registry(output.settings(heads=heads).heads).load(name)
    manifest = {"name": head.name, "version": head.version} | head.manifest.model_dump(mode="json")
    if as_json:
        print(json.dumps(manifest))
    else:
        output.out.print_json(json.dumps(manifest))


@heads_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="name of a head")],
    alias: Annotated[str, typer.Argument(help="e.g. production")],
    version: Annotated[str, typer.Argument(help="a version, or an alias that points to one")] = "latest",
    heads: HeadsOption = None,
) -> None:
    """Point an alias at a version; running services follow from their next request on."""
    from classifiers.registry import Registry

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
    from classifiers.registry import Registry

    changed = Registry(output.settings(heads=heads).heads).diff(name, old, new)
    if as_json:
        print(json.dumps(changed))
    else:
        output.table(("entry", old, new), [(key, *values) for key, values in changed.items()])
