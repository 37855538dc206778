"""Tests of the findings of four papers on the data sets here: `python -m benchmarks.quality --data FOLDER`."""
