"""The serving side imports no torch, no scikit-learn, no SciPy and no LanceDB."""

import subprocess
import sys

from helpers.paths import ROOT

HEAVY = ("torch", "sklearn", "scipy", "lancedb", "pyarrow", "pandas")


def test_heads_and_registry_are_light():
    code = (
        "import sys, classifiers.heads, classifiers.published.registry, classifiers.published.head;"
        "import classifiers.evaluation.figures;"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
