"""Figures on how good a head is, and on how far it can be trusted. They are computed from arrays, without a store."""
