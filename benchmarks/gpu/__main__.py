"""Measure this machine's GPU, part by part, into one JSON file.

    python -m benchmarks.gpu --out gpu.json                # all parts, 8 minutes at most
    python -m benchmarks.gpu --out gpu.json --only forward
    python -m benchmarks.gpu --out gpu.json --small        # dry run on the CPU, with tiny networks

Parts run in the order of their worth, each in a process of its own with a time budget, so that a part that hangs or
crashes costs only its own figures. A part's table is printed when it ends. Run the command again with the same file to
go on: parts that are done are skipped, and an unfinished part measures only what is missing.

`pack.sh` prepares everything for a machine without a network.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.record import Record, table
from benchmarks.measure import model

PARTS = {"ceilings": 30, "forward": 110, "endtoend": 200, "training": 20, "tests": 80}
"""Seconds for each part, in the order of their worth."""

GRACE = 15
"""Seconds after its budget at which a part is killed."""


def machine() -> dict[str, str | int]:
    """Return what a figure of this machine depends on."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else "",
        "processor": model(),
        "cores": os.cpu_count() or 0,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": os.environ.get("COMMIT") or _output("git", "rev-parse", "--short", "HEAD"),
        "date": time.strftime("%Y-%m-%d"),
    }


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run(part: str, record: Path, seconds: float, small: bool) -> str:
    """Run one part in a process of its own. Return how it ended: done, out of time, or failed."""
    command = [sys.executable, "-m", f"benchmarks.gpu.{part}", "--out", str(record), "--seconds", str(seconds)]
    try:
        done = subprocess.run([*command, "--small"] if small else command, timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        return "out of time"
    return "done" if done.returncode == 0 else f"failed with exit code {done.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file; an existing one is continued")
    parser.add_argument("--minutes", type=float, default=8, help="time for all parts together")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    parser.add_argument("--small", action="store_true", help="dry run: the CPU, tiny networks, few photos")
    options = parser.parse_args()
    record = Record.of(options.out)
    record.content["machine"] = machine()
    record.write()
    print("  ".join(f"{name} {value}" for name, value in record.content["machine"].items()), flush=True)
    deadline, failed = time.monotonic() + 60 * options.minutes, []
    for part in options.only:
        left = deadline - time.monotonic() - GRACE
        if record.part(part)["done"] or left <= 0:
            print(f"\n== {part}: {'done before' if record.part(part)['done'] else 'no time left'}", flush=True)
            continue
        print(f"\n== {part}", flush=True)
        start = time.monotonic()
        end = run(part, options.out, min(PARTS[part], left), options.small)
        record = Record.of(options.out)
        record.part(part).update(done=end == "done", seconds=round(time.monotonic() - start, 1), end=end)
        record.write()
        failed += [] if end == "done" else [f"{part} ({end})"]
        print(f"{part}: {end} after {record.part(part)['seconds']} s\n{table(record.rows(part))}", flush=True)
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
