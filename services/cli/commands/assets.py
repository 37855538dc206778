"""Commands about stored assets: assets list, show, remove."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import options, terminal
from services.cli.commands.labels import AssetArgument, AssetsArgument, LimitOption, StartOption
from services.cli.options import HeadsOption, JsonOption, StoreOption

if TYPE_CHECKING:
    from services.jobs.seen import Learner
    from services.settings import Settings

ABOUT = "List stored assets, show what is known about one, and remove them."
assets_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)


@assets_app.command("list")
def list_(
    modality: Annotated[
        str | None,
        typer.Option(
            "--modality", metavar="NAME", help="Only assets of this modality: image, audio or video, for example."
        ),
    ] = None,
    start: StartOption = 0,
    limit: LimitOption = 50,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List stored assets: ids, types, sizes and files."""
    opened, wanted = options.open_store(options.settings(store=store)), options.modality(modality)
    count = opened.assets.count() if wanted is None else opened.assets.modalities().get(wanted, 0)
    found = opened.assets.page(wanted, start=start, rows=limit)
    if as_json:
        rows = [{name: getattr(each, name) for name in ("id", "uri", "modality", "media_type")} for each in found]
        terminal.show({"count": count, "assets": rows}, as_json=True)
        return
    sizes = [f"{each.width} × {each.height}" if each.width else f"{each.seconds or 0:.1f} s" for each in found]
    lines = [(each.id[:12], each.media_type, size, each.uri) for each, size in zip(found, sizes, strict=True)]
    terminal.table(("asset", "type", "size", "file"), lines)
    if len(found) < count:
        print(f"{len(found):,} of {count:,} assets; --limit and --start choose others")


@assets_app.command()
def show(
    asset: AssetArgument, store: StoreOption = None, heads: HeadsOption = None, as_json: JsonOption = False
) -> None:
    """Show what is known about an asset: its file, vectors and labels, and the heads, adapters and clusterings that
    learned from it."""
    settings = options.settings(store=store, heads=heads)
    opened = options.open_store(settings)
    id_ = opened.assets.find(asset)
    (found,) = opened.assets.get([id_])
    labels = {row.task: row for row in opened.labels.of(id_) if row.until is None}
    vectors = [each.name for each in opened.encoders() if opened.features(each.fingerprint).has(id_)]
    seen = _learners(settings, [id_])
    result: dict[str, Any] = {"id": id_, "uri": found.uri, "type": found.media_type}
    if as_json:
        shown = {task: {"labels": list(row.labels), "split": row.split} for task, row in labels.items()}
        answers = [{"what": each.what, "name": each.name, "learned_from_it": each.answer} for each in seen]
        terminal.show({**result, "labels": shown, "vectors": vectors, "learned_from_it": answers}, as_json=True)
        return
    result |= {f"task {task}": f"{' | '.join(row.labels)} ({row.split})" for task, row in labels.items()}
    terminal.pairs({**result, "vectors of": ", ".join(vectors) or "no encoder"})
    _print_learners(seen, "it")


@assets_app.command()
def remove(
    asset: AssetsArgument,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge",
            help="Also remove all old versions of all tables at once, which still hold the bytes. Snapshots of them "
            "can no longer be read, and jobs that read the store now may fail.",
        ),
    ] = False,
    store: StoreOption = None,
    heads: HeadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove assets with all that the store has of them: bytes, vectors, tokens, labels, history, quarantine.

    This cannot be undone. Heads, adapters and clusterings that learned from them are named, and stay as they are. Old
    versions of the tables keep the bytes for a week, unless --purge is given; exports keep them too.
    """
    from store.removal import remove_assets

    settings = options.settings(store=store, heads=heads)
    opened = options.open_store(settings)
    ids = [opened.assets.find(each) for each in asset]
    seen = _learners(settings, ids)
    removed = remove_assets(opened, ids)
    if purge:
        opened.purge()
    if as_json:
        answers = [{"what": each.what, "name": each.name, "learned_from_them": each.answer} for each in seen]
        terminal.show({"removed": removed, "learned_from_them": answers}, as_json=True)
        return
    terminal.pairs({"assets": len(ids), **{f"rows of {table}": count for table, count in removed.items()}})
    _print_learners(seen, "them")


def _learners(settings: "Settings", ids: list[str]) -> "list[Learner]":
    from services.jobs.seen import learners

    return list(learners(ids, settings.heads, settings.adapters, settings.clusters))


def _print_learners(seen: "list[Learner]", them: str) -> None:
    """Print what learned from the assets, and the number of those whose folders do not record it."""
    for each in seen:
        if each.answer == "yes":
            print(f"{each.what} {each.name} learned from {them}")
    answers = Counter(each.answer for each in seen)
    if not answers["yes"]:
        print(f"no head, adapter or clustering is known to have learned from {them}")
    if answers["not recorded"]:
        print(f"{answers['not recorded']} were made by an earlier version, which did not record what it learned from")
