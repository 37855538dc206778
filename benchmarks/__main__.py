"""Run all benchmarks: ``python -m benchmarks [--data FOLDER]``. Without --data, benchmarks on data sets are skipped."""

import argparse
import subprocess
import sys
from pathlib import Path

OWN = (
    "encode",
    "fit",
    "heads",
    "scoring",
    "imagenet_shape",
    "feature_store",
    "import_vectors",
    "predict",
    "page_rows",
    "learn",
    "search",
    "resume",
    "memory",
    "serve",
    "overload",
    "sizing",
)
PICTURES = ("accuracy", "backfill", "cascade", "jpeg", "lite", "outliers", "ray_backfill", "textmap", "tokens")
WITH_DATA = (*PICTURES, "sounds", "text_search", "thresholds", "quality")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the Parquet data sets")
    data = parser.parse_args().data
    runs = [[name] for name in OWN] + [[name, "--data", str(data)] for name in WITH_DATA if data]
    failed = []
    for name, *arguments in runs:
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments])
        failed += [name] if done.returncode else []
    if not data:
        print(f"\nskipped, because they need --data: {', '.join(WITH_DATA)}")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
