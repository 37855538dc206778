"""Weights on disk: checkpoints, folders of a hub, licences."""
