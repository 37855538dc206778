"""Estimators that fuse several encoders."""
