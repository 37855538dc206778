"""How a head comes from stored vectors: which rows, which kind, its choices on rows held out, and its report."""
