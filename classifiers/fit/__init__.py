"""Estimators of heads, in the manner of scikit-learn. Each puts the learned NumPy head into `head_`."""
