"""`adapt --train backbone`: runs the training of a network, in one process or several, and prints what came of it."""

import os
import shlex
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from services.cli import options, terminal

if TYPE_CHECKING:
    from services.jobs.tune.job import Tuned
    from services.jobs.tune.plan import TuneRequest
    from services.settings import Settings


def train(request: "TuneRequest", settings: "Settings", *, as_json: bool) -> None:
    """Train the network. Only the first of several processes prints."""
    from classifiers.fit.discrimination.ranks import launched
    from embedder import registry
    from services.jobs.network import require_network
    from services.jobs.progress import ignore
    from services.jobs.tune import job

    start, ranks, opened = time.perf_counter(), launched(), options.open_store(settings)
    if not ranks.first:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the process ends
    require_network(opened, request.encoder)
    encoder = registry.load(request.encoder, **settings.loading)
    shown = terminal.progress_bar("adapt") if ranks.first else nullcontext(ignore)
    with shown as bar, terminal.stopping_on_sigterm():
        try:
            done = job.tune(
                opened,
                encoder,
                request,
                settings.adapters,
                settings.clusters,
                ranks=ranks,
                limits=settings.limits,
                on_progress=bar,
            )
        except KeyboardInterrupt:
            if ranks.first:
                again = shlex.join(["headwater", *sys.argv[1:]])
                terminal.err.print(f"what was saved stays; continue with the same command: {again}")
            raise
    ranks.leave()
    _report(done, time.perf_counter() - start, as_json=as_json)


def _report(done: "Tuned", seconds: float, *, as_json: bool) -> None:
    """Print the result, its curve and the command that comes next."""
    curve = done.position.curve
    result: dict[str, Any] = {
        "encoder": done.name,
        "images": done.images,
        "clusters": done.clusters,
        "processes": done.processes,
        "epochs": len(curve),
        "loss": [round(each.loss, 4) for each in (curve[0], curve[-1])],
        "positive_cosine": [round(each.positive, 4) for each in (curve[0], curve[-1])],
        "negative_cosine": [round(each.negative, 4) for each in (curve[0], curve[-1])],
    }
    if done.position.before is not None:
        judged = [done.position.before, *(each.accuracy for each in curve)]
        result["split"] = done.split
        result["accuracy"] = [round(each, 4) for each in judged if each is not None]
    result |= {
        "resumed_from_step": done.resumed,
        "unreadable": len(done.position.broken),
        "seconds": round(seconds, 2),
        "report": str(done.path / "report.md"),
    }
    terminal.report(result, done.notes, then=f"headwater backfill --encoder {shlex.quote(done.name)}", as_json=as_json)
