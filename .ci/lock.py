"""Writes locks/*.txt: every package of the container images, with its version and the sha256 of each of its files.

Run it with the Python of the images, after a change of pyproject.toml or constraints.txt: python3.13 .ci/lock.py
It needs pip and the Python package index, and installs nothing. The versions are those of constraints.txt.

classification.txt   packages of the image without torch
embedding.txt        packages of the image with torch, without those in torch.txt
torch.txt            torch and torchvision for NVIDIA GPUs, and the packages of CUDA that they need; the variants for
                     CPUs alone come from an index of their own, see services/Dockerfile
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "locks"
INDEX = "https://pypi.org/simple"
TORCH = ("torch", "torchvision", "triton", "nvidia-", "cuda-")
"""Names, and starts of names, of the packages of torch.txt."""
EXTRAS = {"classification": "", "embedding": "[train,embedding,cluster]"}
"""The extras of each image."""
BUILD = ("setuptools",)
"""Packages that build Headwater itself from its source."""
MACHINES = ("x86_64", "aarch64")
WHEEL = re.compile(r"-(?:(?:py3|py2\.py3|cp313)-[\w.]+-|cp3\d+-abi3-)(?P<platform>[\w.]+)\.whl$")
"""The end of the name of a wheel that Python 3.13 can install. Other Pythons and free-threaded builds do not match."""


class Package(NamedTuple):
    name: str
    version: str


def resolved(extras: str) -> list[Package]:
    """Return the packages that pip would install for this machine, sorted by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report), "--index-url", INDEX]
        constraint = ["--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([sys.executable, "-m", "pip", *words, *constraint, f"{ROOT}{extras}", *BUILD], check=True)  # noqa: S603
        found = [each["metadata"] for each in json.loads(report.read_text())["install"]]
    packages = (Package(re.sub(r"[-_.]+", "-", each["name"]).lower(), each["version"]) for each in found)
    return sorted(each for each in packages if each.name != "headwater")


def files(package: Package) -> list[dict[str, Any]]:
    """Return the files of a release that an image can install: wheels for Linux, or the source if there are none."""
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    request = urllib.request.Request(f"{INDEX}/{package.name}/", headers=headers)  # noqa: S310 - always https
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        listed = json.load(answer)["files"]
    start = re.compile(rf"{re.sub('-', '[-_.]', package.name)}-{re.escape(package.version)}(-|\.tar\.gz$)", re.I)
    release = [each for each in listed if start.match(each["filename"])]
    return [each for each in release if _machines(each["filename"])] or [
        each for each in release if each["filename"].endswith(".tar.gz")
    ]


def _machines(filename: str) -> set[str]:
    """Return the machines that can install a wheel; none for another kind of file."""
    platform = match["platform"] if (match := WHEEL.search(filename)) else ""
    if platform == "any":
        return set(MACHINES)
    return {machine for machine in MACHINES if machine in platform and "manylinux" in platform}


def line(package: Package) -> str:
    """Return the package as pip reads it: name, version, machines if not all, and the digest of each file."""
    found = files(package)
    if not found:
        raise SystemExit(f"{package.name} {package.version} has no file that the images can install")
    machines = set().union(*(_machines(each["filename"]) for each in found)) or set(MACHINES)
    marker = "" if machines == set(MACHINES) else f' ; platform_machine == "{min(machines)}"'
    digests = sorted(each["hashes"]["sha256"] for each in found)
    return " \\\n".join(
        [f"{package.name}=={package.version}{marker}", *(f"    --hash=sha256:{each}" for each in digests)]
    )


def write(name: str, packages: list[Package]) -> None:
    head = "# Written by .ci/lock.py from constraints.txt; do not edit.\n"
    (LOCKS / f"{name}.txt").write_text(head + "".join(f"{line(each)}\n" for each in packages))
    print(f"locks/{name}.txt: {len(packages)} packages")


def main() -> None:
    LOCKS.mkdir(exist_ok=True)
    for name, extras in EXTRAS.items():
        packages = resolved(extras)
        torch = [each for each in packages if each.name.startswith(TORCH)]
        write(name, [each for each in packages if each not in torch])
        if torch:
            write("torch", torch)


if __name__ == "__main__":
    main()
