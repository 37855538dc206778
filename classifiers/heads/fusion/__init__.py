"""Fusion of several encoders: one member head for each, and a rule that combines their scores."""
