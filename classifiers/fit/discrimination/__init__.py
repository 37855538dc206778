"""Cluster discrimination (MLCD, arXiv 2407.17331): pseudo-labels, losses, and adapters trained on them."""
