"""Texts of a request in answers and logs: they are quoted in short, so that no answer repeats a text of megabytes."""

LONGEST_ECHO = 100
"""Largest number of characters of an id, a name or a text of the request that an answer repeats."""

LONGEST_FILE_NAME = 255
"""Largest number of characters of a file's name that an answer repeats. No file system has longer names."""


def shortened(text: str, most: int = LONGEST_ECHO) -> str:
    """Return `text` if it has at most `most` characters, otherwise its beginning and an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def file_name(text: str | None) -> str | None:
    """Return the name of a file as an answer repeats it."""
    return None if text is None else shortened(text, LONGEST_FILE_NAME)
