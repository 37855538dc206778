"""Helpers that tests share: generated images, sounds, videos, towers and stores, and the command."""
