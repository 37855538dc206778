"""The end of a command that may have put items into quarantine: summary, one line per reason, exit code."""

from typing import TYPE_CHECKING, Any

import typer

from services.cli import terminal
from services.cli.errors import REASON_HINTS

if TYPE_CHECKING:
    from services.jobs.progress import Failures
    from store import Store


def finish(store: "Store", result: dict[str, Any], failures: "Failures", *, as_json: bool) -> None:
    """Print what `show` prints. Raises typer.Exit with the code of the command."""
    show(store, result, failures, as_json=as_json)
    raise typer.Exit(terminal.PARTIAL if failures.total else 0)


def show(store: "Store", result: dict[str, Any], failures: "Failures", *, as_json: bool) -> None:
    """Print the result and, for every reason, the number of items with one example."""
    result["quarantined"] = failures.total
    if as_json:
        terminal.show(result | {"reasons": dict(failures.counts)}, as_json=True)
    else:
        terminal.show(result, as_json=False)
        for line in _reasons(store, failures):
            print(line)


def _reasons(store: "Store", failures: "Failures") -> list[str]:
    ids = store.assets.exists([example.key for example in failures.examples.values()])
    uris = {asset.id: asset.uri for asset in store.assets.get(sorted(ids))}
    lines = []
    for reason, count in failures.counts.most_common():
        example = failures.examples[reason]
        hint = f" ({REASON_HINTS[reason]})" if reason in REASON_HINTS else ""
        lines.append(f"{count:,} {reason}, e.g. {uris.get(example.key, example.key)}: {example.message}{hint}")
    return lines
