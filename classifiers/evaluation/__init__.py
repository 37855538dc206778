"""How good a head is and how far to trust it. Arrays in, figures out: no store, no HTTP."""
