"""The only package that imports LanceDB and pylance."""
