"""Training of a network: it learns, its result is an encoder, a stopped one ends as if never stopped, refusals."""

import json
import resource
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.towers import openclip
from helpers.tuning import make_home

from classifiers.clustering.clusters import Clustering
from classifiers.errors import BadClustering, NotTrainable, UnknownClustering
from classifiers.fit.device import using
from embedder import folders, registry
from embedder.weights.checkpoint import read_state
from services.jobs.backfill.local import backfill
from services.jobs.errors import TrainingFailed
from services.jobs.tune import job
from services.jobs.tune.job import tune
from store.errors import UnknownTask
from store.removal import remove_assets


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu():
    """Train on the CPU, where the same steps give the same bits."""
    with using("cpu"):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory, cache_dir):
    return make_home(tmp_path_factory.mktemp("tune"), cache_dir)


def run(home, request, adapters, **more):
    return tune(home.store, home.encoder, request, adapters, home.clusters, **more)


class Stopped(Exception):
    """The training was stopped, as by Ctrl-C."""


def stop_after(steps):
    """Return a callback that stops a training after so many steps."""

    def stop(step):
        if "loss" in step.note and step.handled == steps:
            raise Stopped

    return stop


@pytest.fixture(scope="module")
def tuned(home):
    return run(home, home.request(judge="colours", epochs=4), home.adapters)


def test_the_loss_falls_and_held_out_neighbours_do_not_get_worse(tuned):
    curve = tuned.position.curve
    assert len(curve) == 4
    assert curve[-1].loss < curve[0].loss
    assert tuned.split == "val"
    assert curve[-1].accuracy >= tuned.position.before
    assert (tuned.images, tuned.resumed, tuned.processes) == (24, 0, 1)  # the training images alone


def test_the_result_is_an_encoder_with_vectors_of_its_own(home, tuned, cache_dir):
    encoder = registry.load(tuned.name, backend="torch-cpu-fp32", cache_dir=cache_dir)
    assert encoder.spec.fingerprint != home.encoder.spec.fingerprint
    assert encoder.spec.image == home.encoder.spec.image
    assert backfill(home.store, encoder).done == 36
    assert not list((home.adapters / "towers").glob(".run-*"))
    told = json.loads((tuned.path / "training.json").read_text())
    assert told["parent_fingerprint"] == home.encoder.spec.fingerprint
    assert len(told["curve"]) == 4
    assert "| before |" in (tuned.path / "report.md").read_text()


@pytest.mark.parametrize("after", [pytest.param(1, marks=pytest.mark.slow), 5])  # before any checkpoint; in an epoch
def test_a_stopped_training_ends_as_if_never_stopped(home, tuned, tmp_path, after):
    request = home.request(judge="colours", epochs=4)
    with pytest.raises(Stopped):
        run(home, request, tmp_path, on_progress=stop_after(after))
    again = run(home, request, tmp_path)
    assert again.resumed == after // 2 * 2
    assert again.path.name == tuned.path.name
    assert again.position == tuned.position
    whole, resumed = (read_state(each.path / "model.safetensors") for each in (tuned, again))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_a_disk_that_is_full_during_a_training_is_one_error_and_the_checkpoint_before_is_used(home, tuned, tmp_path):
    request, (soft, hard) = home.request(judge="colours", epochs=4), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_after(step):
        if "loss" in step.note and step.handled == 9:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # no file may grow, as on a full disk

    try:
        with pytest.raises(TrainingFailed, match=r"checkpoint of step 10 .* the one before it is kept: make room"):
            run(home, request, tmp_path, on_progress=fill_after)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("towers/*-mlcd-*"))
    again = run(home, request, tmp_path)
    assert (again.resumed, again.path.name) == (9, tuned.path.name)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", ":pooled"])
def test_a_model_of_open_clip_keeps_its_text_tower(home, tmp_path, cache_dir, words):
    openclip(tmp_path, "tuned-vit")
    encoder = registry.load(
        f"openclip/tuned-vit@{tmp_path}/tuned-vit.safetensors{words}", backend="torch-cpu-fp32", cache_dir=cache_dir
    )
    backfill(home.store, encoder)
    request = replace(home.request(dim=16), encoder=encoder.name)
    done = tune(home.store, encoder, request, tmp_path, home.clusters)
    assert done.position.curve[-1].loss < done.position.curve[0].loss
    again = registry.load(done.name, backend="torch-cpu-fp32", cache_dir=cache_dir)
    assert again.spec.fingerprint != encoder.spec.fingerprint
    assert again.spec.text == encoder.spec.text
    assert (again.spec.text is None) == bool(words)


def test_a_worse_network_is_said_so(home, tmp_path):
    done = run(home, home.request(judge="colours", epochs=2, learning_rate=0.5, clip=0.0, warmup=0.0), tmp_path)
    assert done.position.curve[-1].accuracy < done.position.before
    assert "the trained network is worse" in done.notes[-1]


def test_an_image_that_is_gone_is_left_out_and_named(tmp_path, cache_dir):
    home = make_home(tmp_path, cache_dir)
    labels = home.store.labels.get("colours").to_pylist()
    train = next(row["id"] for row in labels if row["split"] == "train")
    with pytest.raises(Stopped):
        run(home, home.request(epochs=2), tmp_path, on_progress=stop_after(1))
    remove_assets(home.store, [train])
    done = run(home, home.request(epochs=2), tmp_path)
    assert set(done.position.broken) == {train}
    assert f"1 images could not be read and were left out, e.g. {train[:12]} (" in done.notes[-1]
    assert all(np.isfinite(each.loss) for each in done.position.curve)


def test_what_cannot_be_trained_is_refused(home, tmp_path, cache_dir):
    sounds = registry.load("melstat", cache_dir=cache_dir)
    with pytest.raises(NotTrainable, match="network of melstat cannot be trained"):
        tune(home.store, sounds, home.request(), tmp_path, home.clusters)
    with pytest.raises(UnknownClustering):
        run(home, home.request(clustering="none"), tmp_path)
    other = Clustering("other", "b" * 64, np.zeros(64, np.float32), np.eye(4, 64, dtype=np.float32), {"rows_of": None})
    other.save(home.clusters, "other")
    with pytest.raises(BadClustering, match="belongs to other"):
        run(home, home.request(clustering="other"), tmp_path)
    with pytest.raises(NotTrainable, match="clusters are more than the 24 training rows"):
        run(home, home.request(clusters=30), tmp_path)
    with pytest.raises(UnknownTask):
        run(home, home.request(judge="none"), tmp_path)
    assert not list(tmp_path.glob("towers/.run-*"))


def test_two_trainings_of_one_request_do_not_run_at_once(home, tmp_path):
    request = home.request()
    folder = tmp_path / "towers" / f".run-{job._key(home.encoder, request, home.clusters)}"
    folder.mkdir(parents=True)
    with folders.try_lock(folder / folders.IN_USE), pytest.raises(TrainingFailed, match="another process"):
        run(home, request, tmp_path)
    assert run(home, request, tmp_path).resumed == 0


def test_a_full_disk_is_noticed_before_the_first_step(home, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(TrainingFailed, match="and 1 kB are free"):
        run(home, home.request(), tmp_path)
