"""The built-in families of encoders, a module or folder each."""
