"""Figures on how good a head is and how far it can be trusted, from arrays alone: no store, no HTTP."""
