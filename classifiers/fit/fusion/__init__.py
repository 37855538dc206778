"""Estimators that fuse the columns of several encoders."""
