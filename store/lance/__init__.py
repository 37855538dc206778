"""The doors to LanceDB and pylance."""
