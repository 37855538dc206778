"""Heads that give a row any number of labels."""
