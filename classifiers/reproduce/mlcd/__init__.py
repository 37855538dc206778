"""The experiments of multi-label cluster discrimination (MLCD, arXiv 2407.17331) on the stored vectors of a task."""
