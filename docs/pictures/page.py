"""Makes the pictures of the page for docs/page.md and README: three screenshots of the test of the whole journey.

    python docs/pictures/page.py

Nothing is arranged for the pictures. The photos are those of the test, from the package `elpv-dataset` (see NOTICE).
The colours are reduced to a palette, so that the files stay small.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

HERE = Path(__file__).parent
TEST = HERE.parents[1] / "tests" / "services" / "page" / "test_journey.py"
KEPT = {"look-at-its-mistakes": "page-photos.png", "learn-again": "page-learn.png", "see-it-on-the-map": "page-map.png"}
SIZE, COLOURS = (960, 600), 64


def main() -> None:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "-s", "-m", "slow", f"--basetemp={folder}/test", str(TEST)]
        subprocess.run(command, cwd=HERE.parents[1], check=True)  # noqa: S603 - our own command
        for step, name in KEPT.items():
            [screenshot] = Path(folder).rglob(f"[0-9][0-9]-{step}.png")
            small = Image.open(screenshot).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
            small = small.quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(HERE / name, optimize=True)


if __name__ == "__main__":
    main()
