"""Training of heads from stored vectors: rows, kinds of heads, calibration on held-out rows, and the report."""
