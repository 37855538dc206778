"""Two encoders for Headwater: see README.md."""
