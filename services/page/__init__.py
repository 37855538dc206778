"""The page at `/`: photos, a map of them, labels, and training, in a browser. Plain modules, nothing from a network."""
