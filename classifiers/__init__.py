"""Heads, small classifiers on stored vectors: `training` makes them offline, `heads` serves them with NumPy only."""
