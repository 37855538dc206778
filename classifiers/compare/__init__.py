"""Many heads on the same rows: tried, ranked by validation, set against each other, and told in a page."""
