"""In a checkout, the packages of Headwater are at the top; this module gives them their installed names too.

`headwater.store` is then the very module `store`, and not a second copy with classes of its own. A plugin that imports
`headwater.embedder.encoder` so works both with a checkout and with an installed Headwater.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PACKAGES = ("classifiers", "embedder", "services", "store")


class _SameModule(MetaPathFinder, Loader):
    """Finds `headwater.<package>…` as the module `<package>…`."""

    def find_spec(self, name: str, _: Sequence[str] | None = None, __: ModuleType | None = None) -> ModuleSpec | None:
        above, _dot, rest = name.partition(".")
        if above != "headwater" or rest.partition(".")[0] not in PACKAGES:
            return None
        return ModuleSpec(name, self)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = import_module(name.removeprefix("headwater."))


def install() -> None:
    """Give the packages their installed names, unless this is an installation, which has them."""
    if not (Path(__file__).parent / PACKAGES[0]).is_dir():
        sys.meta_path.insert(0, _SameModule())
