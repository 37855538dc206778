"""The command `headwater`, also as ``python -m headwater``."""

from services.cli import main

if __name__ == "__main__":
    main()
