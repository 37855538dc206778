"""The feature store: assets, labels, features and quarantine in LanceDB tables.

Importing this package is cheap: the first read or write imports LanceDB (see `store.lance.database`).
"""

from store.errors import StoreError
from store.items import Item
from store.matrix import Matrix
from store.schema import SPLITS, Added, Asset, Label, Quarantined, asset_id, split_of, stage_of
from store.selection import Batches
from store.snapshot import Snapshot
from store.store import FeatureTable, Store
from store.tables.features import Features

__all__ = [
    "SPLITS",
    "Added",
    "Asset",
    "Batches",
    "FeatureTable",
    "Features",
    "Item",
    "Label",
    "Matrix",
    "Quarantined",
    "Snapshot",
    "Store",
    "StoreError",
    "asset_id",
    "split_of",
    "stage_of",
]
