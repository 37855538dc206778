"""Derived encoders: a parent encoder, then an adapter on its vectors or a condenser on its tokens."""
