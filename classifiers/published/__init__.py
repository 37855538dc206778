"""Published heads: saved with a manifest, versioned, loaded after every check, asked for answers."""
