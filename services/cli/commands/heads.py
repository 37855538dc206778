"""Commands about published heads: evaluate, and heads list, show, promote, remove, diff."""

import json
from typing import Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.completion import head_names, split_names
from services.cli.figures import show_figures
from services.cli.options import HeadArgument, HeadsOption, JsonOption, StoreOption

app = typer.Typer()
ABOUT = "List published heads, show them, give them aliases, remove and compare their versions."
heads_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)

NUMBERS_SHOWN = 10
"""A longer list of numbers is summarised by `heads show`."""

NameArgument = Annotated[str, typer.Argument(help="The name of a head.", show_default=False, autocompletion=head_names)]


@app.command()
def evaluate(
    head: HeadArgument,
    task: Annotated[
        str | None,
        options.task_option("The task whose labels are the truth.", "the task that the head learned"),
    ] = None,
    split: Annotated[
        str,
        typer.Option("--split", metavar="NAME", help="The rows: train, val or test.", autocompletion=split_names),
    ] = "test",
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a published head on the current content of the store."""
    from classifiers.published.registry import Registry
    from classifiers.training.pipeline import evaluate_head

    settings = options.settings(store=store, heads=heads)
    published = Registry(settings.heads).load(head)
    found = evaluate_head(options.open_store(settings), published, task=task, split=split)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        show_figures({split: found.summary()})
        print()
        terminal.table(*found.weakest())


@heads_app.command("list")
def list_(heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """List every head with its versions and aliases. Heads whose folders cannot be read are named in a warning."""
    from classifiers.errors import BadArtifact
    from classifiers.published.registry import Registry

    registry = Registry(options.settings(heads=heads).heads)
    found: dict[str, Any] = {}
    for name in registry.names():
        try:
            found[name] = {"versions": registry.versions(name), "aliases": registry.aliases(name)}
        except BadArtifact as error:
            terminal.warn(str(error))
    if as_json:
        print(json.dumps(found))
        return
    rows = [
        (name, version, " ".join(alias for alias, target in sorted(each["aliases"].items()) if target == version))
        for name, each in found.items()
        for version in each["versions"]
    ]
    terminal.table(("head", "version", "aliases"), rows)


@heads_app.command()
def show(name: HeadArgument, heads: HeadsOption = None, as_json: JsonOption = False) -> None:
    """Print the manifest of one version of a head.

    Long lists of numbers are summarised; --json prints them whole.
    """
    from classifiers.published.registry import Registry

    found = Registry(options.settings(heads=heads).heads).load(name)
    manifest = {"name": found.name, "version": found.version} | found.manifest.model_dump(mode="json")
    if as_json:
        print(json.dumps(manifest))
    else:
        print(json.dumps(_summarised(manifest), indent=2, ensure_ascii=False))


def _summarised(value: Any) -> Any:
    """Return `value` with every long list of numbers replaced by its length, its smallest and its largest number."""
    if isinstance(value, dict):
        return {name: _summarised(each) for name, each in value.items()}
    if isinstance(value, list) and len(value) > NUMBERS_SHOWN and {type(each) for each in value} <= {int, float}:
        return f"{len(value)} numbers from {_number(min(value))} to {_number(max(value))}"
    return value


def _number(value: int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@heads_app.command()
def promote(
    name: NameArgument,
    alias: Annotated[str, typer.Argument(help="The alias, for example production.", show_default=False)],
    version: Annotated[str, typer.Argument(help="A version, or an alias that points to one.")] = "latest",
    heads: HeadsOption = None,
) -> None:
    """Point an alias at a version of a head.

    Running services follow from their next request on.
    """
    from classifiers.published.registry import Registry

    registry = Registry(options.settings(heads=heads).heads)
    registry.promote(name, alias, version)
    print(f"{name}@{alias} is now {registry.aliases(name)[alias]}")


@heads_app.command()
def remove(
    name: HeadArgument,
    every: Annotated[bool, typer.Option("--all", help="Remove the head with all its versions and aliases.")] = False,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove one version of a head, NAME@VERSION, or with --all the whole head.

    This cannot be undone. A version that an alias points to, other than latest, is kept: move the alias first.
    """
    from classifiers.published.registry import Registry

    if every == ("@" in name):
        raise typer.BadParameter(f"{name!r}: give NAME@VERSION to remove one version, or NAME and --all")
    registry = Registry(options.settings(heads=heads).heads)
    removed = registry.remove_all(name) if every else [registry.remove(name)]
    terminal.show({"head": name.partition("@")[0], "removed": ", ".join(removed)}, as_json=as_json)


@heads_app.command()
def diff(
    name: NameArgument,
    old: Annotated[str, typer.Argument(help="A version or an alias.", show_default=False)],
    new: Annotated[str, typer.Argument(help="Another version or alias.", show_default=False)],
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the differences between the manifests of two versions of a head."""
    from classifiers.published.registry import Registry

    changed = Registry(options.settings(heads=heads).heads).diff(name, old, new)
    if as_json:
        print(json.dumps(changed))
    else:
        terminal.table(("entry", old, new), [(key, *values) for key, values in changed.items()])
