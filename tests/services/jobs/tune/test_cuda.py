"""On a CUDA card a network is trained in bf16, and learns as on the CPU."""

import pytest
from helpers.tuning import make_home

from classifiers.fit.device import using
from services.jobs.tune.job import tune

pytestmark = pytest.mark.gpu


def test_a_card_trains_what_the_cpu_trains(tmp_path, cache_dir):
    home = make_home(tmp_path, cache_dir)
    request, curves = home.request(judge="colours"), {}
    for device in ("cpu", "cuda"):
        with using(device):
            done = tune(home.store, home.encoder, request, tmp_path / device, home.clusters)
        curves[device] = [each.loss for each in done.position.curve]
    assert curves["cuda"] == pytest.approx(curves["cpu"], rel=0.05)
    assert curves["cuda"][-1] < curves["cuda"][0]
