"""Builds the wheel, in which the four packages are below `headwater`.

In the repository they are at the top: `services`, `store`, … Installed like that, they would collide with the packages
of the project that uses them. So in a wheel, `store/schema.py` is `headwater/store/schema.py`, and every import of one
of the four has the longer name. An editable installation is as the repository is.
"""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

PACKAGES = ("classifiers", "embedder", "services", "store")
IMPORT = re.compile(rf"^(\s*(?:from|import) )(?=(?:{'|'.join(PACKAGES)})\b)", re.MULTILINE)


class BelowHeadwater(build_py):
    """Moves the four packages below `headwater` once they are in the build folder."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        above = Path(self.build_lib) / "headwater"
        for name in PACKAGES:
            shutil.rmtree(above / name, ignore_errors=True)  # of an earlier build
            shutil.move(Path(self.build_lib) / name, above / name)
        for path in above.rglob("*.py"):
            path.write_text(IMPORT.sub(r"\1headwater.", path.read_text("utf-8")), "utf-8")


class Named(egg_info):
    """Names `headwater` alone as the package at the top."""

    def run(self) -> None:
        super().run()
        (Path(self.egg_info) / "top_level.txt").write_text("headwater\n")


setup(cmdclass={"build_py": BelowHeadwater, "egg_info": Named})
