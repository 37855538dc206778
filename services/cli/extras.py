"""The packages that Headwater uses, and the extra that installs each, as Headwater's own metadata declares them."""

from functools import cache
from importlib.metadata import PackageNotFoundError, metadata

CORE = ""
"""The place of packages that are always installed. All other places are names of extras."""

PACKAGES = {
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "huggingface_hub": "transformers",  # which requires it
    "imagebind": "imagebind-unofficial",
    "iopath": "imagebind-unofficial",  # which requires it
    "lance": "pylance",
    "multipart": "python-multipart",
    "open_clip": "open_clip_torch",
    "opentelemetry": "opentelemetry-sdk",  # besides other packages
    "sklearn": "scikit-learn",
}
"""The package that brings a module, where their names differ."""


@cache
def declared() -> dict[str, str]:
    """Return the extra that installs each package, or `CORE`; empty if Headwater is not installed as a package.

    The tools of the extra ``dev`` are left out, and so are packages for other platforms than this one.
    """
    from packaging.requirements import Requirement  # lancedb requires packaging

    try:
        found = metadata("headwater")
    except PackageNotFoundError:
        return {}
    requirements = [Requirement(text) for text in found.get_all("Requires-Dist") or ()]
    places = [CORE, *(extra for extra in found.get_all("Provides-Extra") or () if extra != "dev")]
    return {
        each.name: place
        for place in reversed(places)  # so that a package of several places keeps the first
        for each in requirements
        if each.name != "headwater" and (each.marker is None or each.marker.evaluate({"extra": place}))
    }


def installing(module: str) -> str:
    """Return the command that installs the package of a module. A module of no declared package needs all of them."""
    name = module.partition(".")[0]
    package = _plain(PACKAGES.get(name, name))
    return command(next((place for each, place in declared().items() if _plain(each) == package), "all"))


def command(place: str) -> str:
    """Return the command that installs an extra, or the core."""
    return "pip install headwater" if place == CORE else f"pip install 'headwater[{place}]'"


def _plain(package: str) -> str:
    return package.lower().replace("_", "-")
