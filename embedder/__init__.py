"""Pixels and texts in, frozen vectors out."""
