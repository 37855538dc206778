"""What a training leaves beside the network: a manifest for programs, and a report for people."""

import json
from dataclasses import asdict
from pathlib import Path

from classifiers.published.manifest import package_versions
from embedder.encoder import Encoder
from services.jobs.tune.checkpoint import Position
from services.jobs.tune.plan import Plan, TuneRequest

MANIFEST, REPORT = "training.json", "report.md"


def write_report(
    folder: Path, name: str, encoder: Encoder, request: TuneRequest, plan: Plan, position: Position
) -> None:
    """Write both files into the folder of a network.

    Args:
        name: name of the encoder that the folder makes.
    """
    facts = {
        "name": name,
        "parent": encoder.name,
        "parent_fingerprint": encoder.spec.fingerprint,
        "request": asdict(request),
        "images": len(plan.ids),
        "clusters": plan.clusters,
        **plan.record,
        "packages": package_versions(("headwater", "numpy", "torch", "timm", "open_clip_torch", "faiss-cpu")),
        **asdict(position),
    }
    (folder / MANIFEST).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / REPORT).write_text(to_markdown(encoder.name, request, plan, position), encoding="utf-8")


def to_markdown(parent: str, request: TuneRequest, plan: Plan, position: Position) -> str:
    """Return the report: how the network was trained, and its curve."""
    recipe = ", ".join(f"{key} = {value}" for key, value in asdict(request.recipe).items())
    judged = position.before is not None
    lines = [
        f"# The network of {parent}, trained further",
        "",
        f"Trained without labels on {len(plan.ids):,} images and {plan.clusters:,} clusters. Recipe: {recipe}.",
        "",
        *(f"- {note}" for note in plan.record["clustering"]["notes"]),
        "",
        "Mean cosines of images with their positive centres, which attract them, and with negative centres"
        + (f"; accuracy of 20 nearest neighbours on held-out images of task {request.judge}:" if judged else ":"),
        "",
        "| epoch | loss | positive | negative | accuracy |",
        "|---|---|---|---|---|",
        *([f"| before | | | | {position.before:.4f} |"] if judged else ()),
        *(
            f"| {number} | {each.loss:.4f} | {each.positive:.4f} | {each.negative:.4f} | "
            f"{'' if each.accuracy is None else f'{each.accuracy:.4f}'} |"
            for number, each in enumerate(position.curve, start=1)
        ),
    ]
    return "\n".join(lines) + "\n"
