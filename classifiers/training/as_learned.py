"""The rows that a published head learned from, at the versions of the tables that it learned from."""

import json

from classifiers.published.head import PublishedHead
from classifiers.training.kinds import KINDS
from classifiers.training.rows.rows import Rows, Texts
from store import Snapshot, Store
from store.errors import SnapshotGone


def rows_as_learned(store: Store, published: PublishedHead, texts: Texts | None = None) -> Rows | None:
    """Return the rows of the head's own task as they were; None if these versions cannot be read any more.

    Args:
        texts: function that embeds texts with an encoder, for kinds that need vectors of texts.
    """
    try:
        snapshot = Snapshot.from_json(json.dumps(published.manifest.snapshot))
        kind = KINDS[published.head.kind]
        rows = kind.rows(store, published.manifest.task, published.fingerprints, snapshot, texts=texts)
        for features in rows.features:
            features.table.count(version=snapshot.of(features.table))
        rows.labels  # noqa: B018 - reads the labels at that version
    except (SnapshotGone, ValueError, LookupError):
        return None
    return rows
