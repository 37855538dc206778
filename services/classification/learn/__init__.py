"""Learning from corrections over HTTP: a new version of a head in seconds, compared with the one before."""
