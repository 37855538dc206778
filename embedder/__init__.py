"""Encoders: frozen networks that turn images, sounds, videos, measurements and texts into vectors."""
