"""The store's four tables: assets, labels, features and quarantine."""
