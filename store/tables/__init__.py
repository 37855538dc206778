"""The store's tables: assets, labels, features, quarantine."""
