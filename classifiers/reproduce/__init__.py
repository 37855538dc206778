"""The experiments of four papers on the rows of a store, each beside the figures that the paper printed."""
