"""Predictions of a head for a whole store, or for the files of folders, written to one file."""
