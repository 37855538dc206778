"""Measures a CUDA device: its ceilings, encoders alone, and JPEG bytes to stored vectors. See `__main__`."""
