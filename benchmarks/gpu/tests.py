"""The tests that need a GPU: ``pytest -m gpu``, with each failure's first line."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import STDOUT
from tempfile import TemporaryDirectory, TemporaryFile
from xml.etree import ElementTree

from benchmarks.gpu import part
from benchmarks.gpu.part import Run

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    """Return the test modules with the mark: others may import libraries that this machine does not have."""
    found = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text())
    return [str(path.relative_to(ROOT)) for path in found]


APART = "too_little"
"""Tests that fill the device's memory have this in their names. They run after the others, and alone."""


def measure(run: Run) -> None:
    """Run the tests and add their counts. A dry run only collects them, because it has no GPU."""
    if run.small:
        listed = _pytest(["--collect-only"], run.clock.left)
        run.clock.add(collected=listed.count("::"))
        return
    together, alone = ["-n", "8", "--dist", "load", "-k", f"not {APART}"], ["-k", APART]
    totals: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        for number, options in enumerate((together, alone)):
            report = Path(folder) / f"report-{number}.xml"
            _pytest([*options, f"--junitxml={report}"], run.clock.left)
            totals += _counts(run, report)
    run.clock.add(**{name: totals[name] for name in ("tests", "failures", "errors", "skipped")})


def _pytest(options: Sequence[str], seconds: float) -> str:
    """Run pytest and print the end of what it prints, also when it runs out of time. Return all of it."""
    # Other versions of the libraries may warn of other things, which these tests are not about.
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider", "--durations=5"]
    with TemporaryFile("w+") as out:
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*command, *options, *modules()], cwd=ROOT, stdout=out, stderr=STDOUT, timeout=max(10, seconds)
            )
        out.seek(0)
        printed = out.read()
    print(printed[-6000:], flush=True)
    return printed


def _counts(run: Run, report: Path) -> Counter[str]:
    """Add a row for each failed test. Return the counts of the suite; errors=1 if it did not end."""
    if not report.exists():
        return Counter(errors=1)
    root = ElementTree.parse(report).getroot()
    for case in root.iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            message = (problem.get("message") or "").strip().partition("\n")[0]
            run.clock.add(failed=f"{case.get('classname')}::{case.get('name')}", message=message[:300])
    suite = next(root.iter("testsuite"))
    return Counter({name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")})


if __name__ == "__main__":
    part.main("tests", __doc__, measure)
