"""A server to compare with: Infinity (michaelfeil/infinity), an embedding server, in its own virtual environment.

Its model is CLIP ViT-B/32 with random weights in fp32 (`benchmarks.standin`). It contacts no hub, and its usage
statistics are off.
"""

import base64
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import standin
from benchmarks.load import Ask
from services.processes import free_ports

VERSION = "0.0.78"
# Infinity needs the last two for images, but lists them only in other extras.
PACKAGES = (f"infinity-emb[server,torch]=={VERSION}", "pillow", "aiohttp")


def installed(folder: Path) -> Path:
    """Return the path of the command. If it is missing, install it in `folder`, which takes GBs and minutes."""
    command = folder / "bin" / "infinity_emb"
    if not command.exists():
        print(f"installing {', '.join(PACKAGES)} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return command


@contextmanager
def serving(folder: Path, models: Path, seconds: float = 600) -> Iterator[str]:
    """Start Infinity, and yield its URL once it is ready. Raises RuntimeError if it ends or is not ready in time."""
    [port] = free_ports(1)
    model = standin.hugging_face_folder(models)
    command = [str(installed(folder)), "v2", "--model-id", str(model), "--engine", "torch", "--device", "cpu"]
    quiet = {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with (models / "infinity.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--served-model-name", standin.NAME],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process, models / "infinity.log", seconds)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"Infinity did not become ready; the end of its log:\n{log.read_text()[-2000:]}")


def ask(url: str, image: bytes) -> Ask:
    """Return a request to embed one image."""
    data = "data:image/jpeg;base64," + base64.b64encode(image).decode()
    body = {"model": standin.NAME, "input": [data], "modality": "image", "encoding_format": "base64"}
    return Ask.post(f"{url}/embeddings", json=body)
