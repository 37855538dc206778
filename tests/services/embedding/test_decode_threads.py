"""The embedding service decodes on as many threads as it has CPUs, not as many as the machine has."""

import os
import subprocess
import sys

import pytest

FLOOD = """
import os, sys, threading, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from services.embedding.state import EmbeddingService
from services.settings import Settings

service = EmbeddingService(Settings(store=""))
for _ in range(20):
    service.threads.submit(time.sleep, 0.01)
print(sum(thread.name.startswith("decode") for thread in threading.enumerate()))
service.threads.shutdown()
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_one_cpu_is_one_thread():
    done = subprocess.run([sys.executable, "-c", FLOOD], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "1", done.stderr
