"""Vectors that were made elsewhere: files of them are read, checked, and stored as an encoder without a network."""
