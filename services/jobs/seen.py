"""Which heads, adapters and clusterings learned from an asset, as their folders record it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifiers.clustering import clusters
from classifiers.errors import BadArtifact
from classifiers.published.membership import Seen, saw
from classifiers.published.registry import Registry
from embedder.derived.stored import adapter_folders


@dataclass(frozen=True, slots=True)
class Learner:
    """Something that was learned from stored assets.

    Attributes:
        name: `name@version` of a head, name of an adapter's folder, or name of a clustering.
        seen: for each asset id asked: "yes", "no", or "not recorded" if an earlier version of Headwater made it.
    """

    what: Literal["head", "adapter", "clustering"]
    name: str
    seen: dict[str, Seen]

    @property
    def answer(self) -> Seen:
        """ "yes" if any of the assets was learned from."""
        values = set(self.seen.values())
        return "yes" if "yes" in values else "not recorded" if "not recorded" in values else "no"


def learners(ids: Sequence[str], heads: Path, adapters: Path | None, clusterings: Path) -> Iterator[Learner]:
    """Yield every head version, adapter and clustering, with what it says about the assets `ids`."""
    registry = Registry(heads)
    for name in registry.names():
        try:
            versions = registry.versions(name)
        except BadArtifact:  # a folder that cannot be read
            continue
        for version in versions:
            yield Learner("head", f"{name}@{version}", saw(heads / name / version, ids))
    for folder in adapter_folders(adapters):
        yield Learner("adapter", folder.name, saw(folder, ids))
    for name in clusters.names(clusterings):
        yield Learner("clustering", name, saw(clusterings / name, ids))
