"""Gaussian-mixture heads (arXiv 2410.13421) on the principal components of a store's vectors, beside plain heads."""
