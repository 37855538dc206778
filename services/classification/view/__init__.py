"""Endpoints that show the store: for the page at `/` and for programs."""
