"""Cluster discrimination (MLCD, arXiv 2407.17331): the training of adapters on pseudo-labels."""
