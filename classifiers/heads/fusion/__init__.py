"""Fusion of several encoders: member heads, and the rule that combines their scores."""
