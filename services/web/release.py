"""The version of Headwater that runs."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """Return the version of this installation; "from a checkout" if Headwater was not installed as a package."""
    try:
        return version("headwater")
    except PackageNotFoundError:
        return "from a checkout"
