"""Comparisons of many heads on the same rows: rank them on validation rows, test the best, and write a page."""
