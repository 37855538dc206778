"""Learning from corrections: train a new version of a head, as the one before it, and compare the two."""

from collections.abc import Mapping, Sequence
from typing import Any

from classifiers.errors import BadArtifact, NotTrainable, UnknownAlias, UnknownHead
from classifiers.published.head import PublishedHead
from classifiers.published.registry import Registry
from classifiers.training.kinds import still_known
from classifiers.training.pipeline import train
from classifiers.training.versions import VersionComparison, compare_versions
from services.jobs.learnable import targets, with_vectors
from services.web.errors import NotOffered
from services.web.schemas.learn import LEARNABLE, LearnRequest
from store import Store
from store.errors import UnknownFeatures

MOST_IDS = 50
"""Largest number of ids of a list in the result."""


def learn(store: Store, registry: Registry, request: LearnRequest) -> dict[str, Any]:
    """Train and publish a version of a head, compare it with the one before, and return the result as JSON has it.

    The parameters are those of the latest version if that has the same kind and task, so that only labels differ.

    Raises what `train` raises, UnknownAlias, UnknownVersion, BadArtifact, NotOffered.
    """
    latest, warnings = _latest(registry, request.name)
    before = latest if request.against is None else registry.load(f"{request.name}@{request.against}")
    if latest and latest.manifest.task != request.task:
        latest = None
    kind = request.kind or (latest.head.kind if latest else _simplest(store, request.task))
    if kind not in {each for kinds in LEARNABLE.values() for each in kinds}:
        raise NotOffered(f"a head of kind {kind} is trained by a job (POST /v1/jobs); name another kind to learn here")
    trained = train(
        store,
        registry,
        task=request.task,
        encoders=_encoders(store, request, latest),
        name=request.name,
        kind=kind,
        params=_parameters(latest, kind),
    )
    now = registry.load(f"{request.name}@{trained.version}")
    comparison: VersionComparison | None = None
    if before is not None:
        try:
            comparison = compare_versions(store, request.task, before, now, store.snapshot())
        except UnknownFeatures as error:
            warnings.append(f"not compared with version {before.version}: {error}")
    return {
        "head": _reference(now),
        "against": _reference(before) if before else None,
        "figures": trained.report.summaries(),
        "warnings": [*trained.warnings, *warnings],
        "comparison": comparison and _shown(comparison),
    }


def _latest(registry: Registry, name: str) -> tuple[PublishedHead | None, list[str]]:
    """Return the latest version of a head, and a warning if it cannot be loaded."""
    try:
        return registry.load(name), []
    except (UnknownHead, UnknownAlias):
        return None, []
    except BadArtifact as error:
        return None, [f"the version before cannot be read, so its settings are not used: {error}"]


def _simplest(store: Store, task: str) -> str:
    """Return the first kind that fits the labels of a task. Raises UnknownTask."""
    return LEARNABLE[targets(store.labels.get(task))][0]


def _encoders(store: Store, request: LearnRequest, latest: PublishedHead | None) -> Sequence[str]:
    if request.encoder is not None:
        return [request.encoder]
    if latest is not None:
        return latest.fingerprints
    found = with_vectors(store, store.labels.get(request.task))
    if not found:
        raise NotTrainable(
            f"no encoder has vectors of training rows of two labels of task {request.task!r}; label or embed more"
        )
    return [found[0].fingerprint]


def _parameters(latest: PublishedHead | None, kind: str) -> Mapping[str, Any]:
    """Return the parameters of the latest version that a head of this kind still has."""
    if latest is None or latest.head.kind != kind:
        return {}
    return still_known(kind, latest.manifest.parameters)


def _reference(head: PublishedHead) -> str:
    return f"{head.name}@{head.version}"


def _shown(found: VersionComparison) -> dict[str, Any]:
    return {
        "split": found.split,
        "rows": found.rows,
        "right_before": found.right_before,
        "right_now": found.right_now,
        "difference": found.difference.mean,
        "interval": [found.difference.low, found.difference.high],
        "changed": found.changed,
        "became_right": list(found.better[:MOST_IDS]),
        "became_wrong": list(found.worse[:MOST_IDS]),
    }
