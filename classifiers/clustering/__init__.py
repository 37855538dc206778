"""Clusters of stored vectors, without labels: finding them, assigning assets, and reporting what they look like."""
