"""Networks are compiled with the variables of the image, without a home folder, and are not compiled again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.containers import image_environment

NETWORK = """
import sys, torch
torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.LayerNorm(64)).to(sys.argv[1]).eval()
rows = torch.randn(8, 64, device=sys.argv[1])
with torch.inference_mode():
    difference = (torch.compile(network)(rows) - network(rows)).abs().max().item()
assert difference < 1e-3, difference
"""
CASES = [
    pytest.param("cpu", "TORCHINDUCTOR_CACHE_DIR", "*.so", marks=pytest.mark.slow),
    pytest.param("cuda", "TRITON_CACHE_DIR", "*.cubin", marks=pytest.mark.gpu),
]


@pytest.mark.parametrize(("device", "folder", "pattern"), CASES)
def test_a_second_process_uses_what_the_first_one_compiled(
    tmp_path: Path, device: str, folder: str, pattern: str
) -> None:
    image = {name: value.replace("/data", str(tmp_path)) for name, value in image_environment("embedding").items()}
    caches = {name: value for name, value in image.items() if name.endswith(("_CACHE_DIR", "_CACHE_PATH"))}
    home = tmp_path / "home"
    home.touch()  # a file: nothing can be written below it

    def compiled() -> dict[Path, int]:
        command = [sys.executable, "-c", NETWORK, device]
        done = subprocess.run(command, env={**os.environ, **caches, "HOME": str(home)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {path: path.stat().st_mtime_ns for path in Path(caches[folder]).rglob(pattern)}

    first = compiled()
    assert first
    assert compiled() == first
