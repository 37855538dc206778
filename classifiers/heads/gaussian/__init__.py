"""Gaussian classes: sufficient statistics, covariances, and the heads that follow from them."""
