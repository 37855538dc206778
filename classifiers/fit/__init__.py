"""How heads are learned: scikit-learn estimators that yield NumPy heads as `head_`."""
