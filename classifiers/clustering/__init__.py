"""Clusters of stored vectors, found without labels: learning centres, assigning assets to them, and reports."""
