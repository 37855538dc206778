"""Estimators that learn heads, with scikit-learn's interface. Each puts the learned NumPy head into `head_`."""
