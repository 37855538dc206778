"""Backfill: embed every stored asset that has no vector of an encoder yet."""
