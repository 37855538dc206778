"""Assets, labels, vectors and what failed, in LanceDB."""
