"""Tests of the findings of four papers on this project's data sets: `python -m benchmarks.quality --data FOLDER`."""
