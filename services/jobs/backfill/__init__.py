"""Backfill: give every stored asset that has no vector of an encoder its vector."""
