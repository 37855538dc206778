"""Training of an encoder's image network on stored images, by cluster discrimination (MLCD, arXiv 2407.17331)."""
