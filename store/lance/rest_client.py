"""LanceDB without the REST client that it imports and a store of files never calls.

LanceDB needs the models of the package `lance_namespace_urllib3_client`. Importing them runs the package itself, which
makes validators for all 366 methods of its client: a third of the time that importing LanceDB takes (0.4 of 1.2 s of
processor time), in every process that opens a store.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGE = "lance_namespace_urllib3_client"


class _Late(ModuleType):
    """A package that finds its submodules at once, and runs itself when one of its own names is first asked for."""

    def __getattr__(self, name: str) -> Any:
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on a package like any other
        self.__spec__.loader.exec_module(self)  # type: ignore[union-attr]  # `put_off` checks that there is one
        return getattr(self, name)


def put_off() -> None:
    """Let the REST client be imported at its first use. Call this before LanceDB is imported."""
    if PACKAGE in sys.modules or (spec := importlib.util.find_spec(PACKAGE)) is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _Late
    sys.modules[PACKAGE] = module
