"""Estimators of Gaussian and mixture heads."""
