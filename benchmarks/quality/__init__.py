"""The yardstick: do the findings of four papers hold on these data? `python -m benchmarks.quality --data FOLDER`."""
