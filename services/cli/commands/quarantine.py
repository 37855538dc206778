"""Commands about the quarantine: quarantine list, retry, clear."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options, quarantine, terminal
from services.cli.commands.labels import LimitOption
from services.cli.errors import REASON_HINTS
from services.cli.options import JsonOption, StoreOption
from services.jobs.progress import Failures

if TYPE_CHECKING:
    from services.settings import Settings
    from store import Store

ABOUT = "List the items that could not be read or embedded, try them again, and forget them."
quarantine_app = typer.Typer(help=ABOUT, short_help=ABOUT, no_args_is_help=True)

StageOption = Annotated[
    str | None,
    typer.Option(
        "--stage",
        metavar="NAME",
        help="Only failures of this stage, as the list names it: ingest, or embed: and a fingerprint.",
        show_default="all stages",
    ),
]


@quarantine_app.command("list")
def list_(
    stage: StageOption = None, limit: LimitOption = 50, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """List the items in quarantine, each with the reason, and what helps."""
    opened = options.open_store(options.settings(store=store))
    rows = opened.quarantine.get(stage).to_pylist()
    ids = opened.assets.exists([row["key"] for row in rows])
    uris = {asset.id: asset.uri for asset in opened.assets.get(sorted(ids))}
    if as_json:
        found = [{**row, "uri": uris.get(row["key"], row["key"]), "at": row["at"].isoformat()} for row in rows[:limit]]
        terminal.show({"count": len(rows), "quarantine": found}, as_json=True)
        return
    lines = [
        (row["stage"], row["reason"], row["tries"], uris.get(row["key"], row["key"]), row["message"])
        for row in rows[:limit]
    ]
    terminal.table(("stage", "reason", "tries", "file", "message"), lines)
    for reason, count in Counter(row["reason"] for row in rows).most_common():
        print(f"{count:,} {reason}" + (f" ({REASON_HINTS[reason]})" if reason in REASON_HINTS else ""))


@quarantine_app.command()
def retry(stage: StageOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Try the items in quarantine again: read the files of ingest, and embed the others.

    What succeeds leaves the quarantine. Files are stored without labels: ingest their folder again to label them.
    """
    from store.rows import strings

    settings = options.settings(store=store)
    opened = options.open_store(settings)
    stages = Counter(strings(opened.quarantine.get(stage)["stage"]))
    failures = Failures()
    for each in sorted(stages):
        found = _retried(opened, settings, each)
        failures.counts.update(found.counts)
        failures.examples |= found.examples
    result = {"tried": stages.total(), "left": opened.quarantine.count(stage)}
    quarantine.finish(opened, result, failures, as_json=as_json)


def _retried(opened: "Store", settings: "Settings", stage: str) -> Failures:
    from services.jobs import ingest
    from store import interchange
    from store.rows import strings

    if stage == ingest.STAGE:
        files = strings(opened.quarantine.get(stage)["key"])
        return ingest.ingest(opened, interchange.read_files(files)).failures
    return _embedded(opened, settings, stage)


def _embedded(opened: "Store", settings: "Settings", stage: str) -> Failures:
    """Embed again what failed at the stage of an encoder. Raises UnknownFeatures if nothing of it is stored."""
    from embedder import registry
    from services.jobs.backfill.local import backfill

    features = opened.features(stage.partition(":")[2])
    model = registry.load(features.name, **settings.loading)
    return backfill(opened, model, retry_quarantined=True, batch=settings.max_batch, limits=settings.limits).failures


@quarantine_app.command()
def clear(stage: StageOption = None, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Forget the items in quarantine.

    Stored assets among them are embedded by the next backfill, and files are read by the next ingest of their folder.
    """
    removed = options.open_store(options.settings(store=store)).quarantine.remove(stage)
    terminal.show({"removed": removed}, as_json=as_json)
