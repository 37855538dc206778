"""The tests that need a GPU: ``pytest -m gpu``, with each failure's first line."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from benchmarks.gpu import part
from benchmarks.gpu.part import Run

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    """Return the test modules with the mark: others may import libraries that this machine does not have."""
    found = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text())
    return [str(path.relative_to(ROOT)) for path in found]


def measure(run: Run) -> None:
    """Run the tests and add their counts. A dry run only collects them, because it has no GPU."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += modules()
        if run.small:
            command.append("--collect-only")
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(10, run.clock.left))
        print(done.stdout[-3000:], done.stderr[-2000:], flush=True)
        if run.small:
            run.clock.add(collected=done.stdout.count("::"))
            return
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            for problem in (*case.iter("failure"), *case.iter("error")):
                message = (problem.get("message") or "").strip().partition("\n")[0]
                run.clock.add(failed=f"{case.get('classname')}::{case.get('name')}", message=message[:300])
        suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
        run.clock.add(**{name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")})


if __name__ == "__main__":
    part.main("tests", __doc__, measure)
