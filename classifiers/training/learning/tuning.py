"""Choice of parameters on validation rows: the value that asks for it, and the number of rows that it reads."""

AUTO: str = "auto"
"""Value of a parameter that training chooses on validation rows or folds. Estimators do not accept it."""

TUNING_ROWS, TUNING_CELLS = 10_000, 2_000_000
"""Maximum number of validation rows, and of their scores (rows × classes), that a parameter is chosen on. A choice
among a dozen values takes seconds. The rows are held in memory (10,000 × 1280 float32 = 51 MB)."""


def tuning_rows(classes: int) -> int:
    """Return the maximum number of validation rows that a parameter is chosen on, given the number of classes."""
    return min(TUNING_ROWS, TUNING_CELLS // classes)
