"""Estimators for rows with any number of labels."""
