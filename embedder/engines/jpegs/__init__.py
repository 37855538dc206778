"""JPEGs in batches: decoded and resized on the GPU, where that keeps the vectors and is faster than the CPU."""
