"""Fusion of several backbones (arXiv 2312.14400, 2405.17139) on the rows of a store."""
