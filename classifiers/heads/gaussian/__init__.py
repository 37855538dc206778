"""Gaussian classes: sufficient statistics, covariances, and the heads that are computed from them."""
