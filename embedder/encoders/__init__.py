"""The built-in families of encoders, one module or folder each."""
