"""The report on a clustering: sizes, typical assets, cosines between centres, agreement with a task.

It is written as JSON and as Markdown. It contains no times, so the same rows make the same report.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.clustering.agreement import Comparison
from classifiers.clustering.assignment import Assignment
from classifiers.clustering.clusters import Clustering
from classifiers.evaluation.tables import cell

EXAMPLES = 9
"""Number of typical assets of each cluster in the report."""

MOST_CLUSTERS = 40
"""Maximum number of clusters in the Markdown, largest first. The JSON has all clusters."""
_CELLS = 1 << 22


def overlap(centres: NDArray[np.float32], codes: NDArray[np.int64], kept: NDArray[np.int64]) -> float | None:
    """Return the mean cosine between two different centres of one row, over all pairs; None if no row has two.

    A value near 1 means that a row's centres stand for one concept, not for several, as MLCD's reviewers suspected.

    Args:
        centres: (k, d), of length one.
        codes: numbers of each row's centres, (n, l).
        kept: how many of these centres count, (n,).
    """
    total, rows = 0.0, max(1, _CELLS // centres.shape[1])
    for start in range(0, len(codes), rows):
        part, counts = codes[start : start + rows], kept[start : start + rows]
        sums = np.zeros((len(part), centres.shape[1]), np.float64)
        for place, column in enumerate(part.T):
            sums += centres[column] * (counts > place)[:, None]
        total += float((sums**2).sum() - counts.sum())  # |Σ c|² minus the products of each centre with itself
    pairs = int((kept * (kept - 1)).sum())
    return total / pairs if pairs else None


def typical(codes: NDArray[np.int64], cosines: NDArray[np.float32], clusters: int, count: int) -> list[list[int]]:
    """Return, for each cluster, the numbers of the `count` rows nearest to its centre, nearest first.

    Args:
        codes: each row's cluster, (n,).
        cosines: each row's cosine with the centre of its cluster, (n,).
    """
    order = np.lexsort((-cosines, codes))
    starts = np.searchsorted(codes[order], np.arange(clusters + 1)).tolist()
    return [order[a : min(a + count, b)].tolist() for a, b in pairwise(starts)]


@dataclass(frozen=True, slots=True)
class Browsing:
    """The content of the report.

    Attributes:
        name, encoder, record: name, encoder and record of the clustering.
        labels: names of the clusters, (k,).
        codes, cosines: each row's nearest centres and cosines with them, nearest first, (n, l).
        kept: how many of these centres are labels of a row, (n,).
        overlap: mean cosine between two centres of one row, see `overlap`.
        apart: mean cosine between any two centres.
        examples: (asset id, URI, cosine) of each cluster's most typical assets, (k,).
        comparison: agreement with a task, if one was named.
    """

    name: str
    encoder: str
    record: Mapping[str, Any]
    labels: Sequence[str]
    codes: NDArray[np.int64]
    cosines: NDArray[np.float32]
    kept: NDArray[np.int64]
    overlap: float | None
    apart: float | None
    examples: Sequence[Sequence[tuple[str, str, float]]]
    comparison: Comparison | None = None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows nearest to each centre, (k,)."""
        return np.bincount(self.codes[:, 0], minlength=len(self.labels))

    def summary(self) -> dict[str, Any]:
        """Return all figures that are one number. Figures without a value are left out, e.g. overlap for l = 1."""
        low, middle, high = np.quantile(self.sizes, (0, 0.5, 1)).tolist()
        found: dict[str, Any] = {
            "clusters": len(self.labels),
            "rows": len(self.codes),
            "labels_a_row": float(self.kept.mean()),
            "smallest_cluster": int(low),
            "median_cluster": middle,
            "largest_cluster": int(high),
            "cosine_to_nearest": float(self.cosines[:, 0].mean()),
            "cosine_between_centres_of_one_row": self.overlap,
            "cosine_between_any_two_centres": self.apart,
        }
        if self.comparison:
            agreed = self.comparison.found
            found |= {"against": self.comparison.task, "labelled_rows": agreed.rows, "classes": agreed.classes}
            found |= {"purity": agreed.purity, "nmi": agreed.nmi}
        return {name: value for name, value in found.items() if value is not None}

    def clusters(self) -> list[dict[str, Any]]:
        """Return one entry for each cluster, in the order of `labels`."""
        near = np.bincount(self.codes[:, 0], self.cosines[:, 0].astype(np.float64), len(self.labels))
        sizes = self.sizes
        found: list[dict[str, Any]] = [
            {
                "label": label,
                "size": int(sizes[i]),
                "cosine": float(near[i] / sizes[i]) if sizes[i] else None,
                "nearest": [{"id": id_, "uri": uri, "cosine": cosine} for id_, uri, cosine in self.examples[i]],
            }
            for i, label in enumerate(self.labels)
        ]
        if self.comparison:
            agreed, classes = self.comparison.found, self.comparison.classes
            for each, code, share in zip(found, agreed.majority.tolist(), agreed.share.tolist(), strict=True):
                each |= {"majority": classes[code] if code >= 0 else None, "purity": share}
        return found


def browse(
    name: str, made: Clustering, assigned: Assignment, uris: Callable[[Sequence[str]], Mapping[str, str]]
) -> Browsing:
    """Gather the figures and the typical assets of a clustering.

    Args:
        uris: ids of assets → their URIs by id; assets without one are shown with an empty URI.
    """
    codes, cosines = assigned.codes[:, 0], assigned.cosines[:, 0]
    rows = typical(codes, cosines, len(made), EXAMPLES)
    known = uris(sorted({assigned.ids[row] for some in rows for row in some}))
    return Browsing(
        name=name,
        encoder=made.encoder,
        record=made.record,
        labels=made.labels,
        codes=assigned.codes,
        cosines=assigned.cosines,
        kept=assigned.kept,
        overlap=overlap(made.centres, assigned.codes, assigned.kept),
        apart=overlap(made.centres, np.arange(len(made))[None], np.array([len(made)])),
        examples=[
            [(assigned.ids[row], known.get(assigned.ids[row], ""), float(cosines[row])) for row in some]
            for some in rows
        ],
    )


def to_json(found: Browsing) -> str:
    """Return the full report as JSON, for programs."""
    head = {"name": found.name, "encoder": found.encoder, "record": dict(found.record), "summary": found.summary()}
    return json.dumps(head | {"clusters": found.clusters()}, indent=2, ensure_ascii=False)


def to_markdown(found: Browsing) -> str:
    """Return a page in Markdown: the figures, and the largest clusters with their most typical assets."""
    labelled = found.comparison is not None
    head = ["cluster", "rows", "mean cosine", *(["commonest label", "its share"] if labelled else []), "most typical"]
    rows = []
    for each in sorted(found.clusters(), key=lambda each: -each["size"])[:MOST_CLUSTERS]:
        cosine = "" if each["cosine"] is None else f"{each['cosine']:z.3f}"
        truth = [cell(each["majority"] or ""), f"{each['purity']:.2f}"] if labelled else []
        names = ", ".join(cell(asset["uri"]) for asset in each["nearest"][:3])
        rows.append([each["label"], f"{each['size']:,}", cosine, *truth, names])
    table = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    figures = [f"- {name.replace('_', ' ')}: {_shown(value)}" for name, value in found.summary().items()]
    notes = [f"- {note}" for note in found.record.get("notes", ())]
    title = f"# Clusters {found.name} of {found.encoder}"
    return "\n".join([title, "", *figures, *notes, "", f"## The largest of {len(found.labels):,}", "", *table]) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:z.3f}" if isinstance(value, float) else str(value)
