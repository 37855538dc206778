"""Training of heads from stored vectors: reading rows, learning, calibration on held-out rows, and the report."""
