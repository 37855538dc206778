"""The whole path of weights from a hub: resolved, downloaded, cached, pinned, offline, refused and interrupted.

The hub is one of the tests' own on loopback. The client is the Hugging Face hub's.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from helpers import binds, clips, hub_models, hubs
from helpers.paths import ROOT
from helpers.towers import mlcd, rewrite, timm_tower
from huggingface_hub import constants, hf_hub_download
from open_clip import pretrained
from safetensors.torch import load_file, save_file

from embedder import registry
from embedder.encoders import imagebind, openclip
from embedder.encoders import mlcd as mlcd_encoder
from embedder.encoders import timm_tower as timm_encoder
from embedder.errors import LicenceNotAccepted, WeightsError, WeightsMissing

WEIGHTS = "model.safetensors"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with hubs.hub_on_loopback(tmp_path / "hf", monkeypatch) as hub:
        yield hub


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the folder of a small model; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("published") / "model"
    hub_models.save(folder, "dinov2")
    return folder


@pytest.fixture
def copy(model, tmp_path):
    return Path(shutil.copytree(model, tmp_path / "copy"))


@pytest.fixture
def load(tmp_path):
    def load(name="hf/someone/model", **options):
        return registry.load(name, backend="torch-fp32", cache_dir=tmp_path / "cache", **options)

    return load


def asked_for(hub, what):
    return [request for request in hub.asked if what in request]


def refused(load, name="hf/someone/model"):
    with pytest.raises(WeightsMissing) as caught:
        load(name)
    return str(caught.value)


def test_a_model_is_fetched_once_and_is_that_of_its_folder(hub, model, load):
    hub.publish("someone/model", model)
    found = load().spec
    assert found == load(f"hf@{model}").spec
    assert len(asked_for(hub, f"GET /someone/model/resolve/{hubs.commit(model)}/{WEIGHTS}")) == 1
    hub.asked.clear()
    assert load().spec == found
    assert not hub.asked


def test_only_files_that_are_needed_are_fetched(hub, copy, load):
    for name in ("pytorch_model.bin", "flax_model.msgpack", "own.py", "tf_model.h5", "open_clip_model.safetensors"):
        (copy / name).write_bytes(b"0" * 10)
    hub.publish("someone/model", copy)
    load()
    fetched = {request.rpartition("/")[2] for request in asked_for(hub, "GET /someone/model/resolve/")}
    assert fetched == {"README.md", "config.json", "preprocessor_config.json", WEIGHTS}


def in_shards(folder):
    """Split the weights of a folder into two files and an index."""
    state = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, folder / file)
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_shards_are_fetched_and_one_that_breaks_off_is_fetched_again(hub, copy, model, load, monkeypatch):
    hub.publish("someone/model", in_shards(copy))
    hub.cut["model-00002-of-00002.safetensors"] = [100] * 50
    refused(load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline" in refused(load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.cut.clear()
    assert load().spec == load(f"hf@{model}").spec


def test_offline_the_cache_is_used_and_nothing_is_asked(hub, model, load, monkeypatch):
    hub.publish("someone/model", model)
    found = load().spec
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load().spec == found
    assert "huggingface_hub is set to offline" in refused(load, "hf/someone/other")
    assert not hub.asked


def test_a_branch_stays_as_it_was_when_it_was_fetched(hub, model, copy, load):
    """Vectors must not change because somebody pushed to a repository."""
    first = hub.publish("someone/model", model)
    before = load().spec
    hub_models.save(copy, "dinov2", seed=1)
    second = hub.publish("someone/model", copy)
    assert load().spec == before
    assert load(f"hf/someone/model@{second}").spec.weights != before.weights
    hub.publish("someone/model", model, revision="v1")
    assert load(f"hf/someone/model@{first}").spec == load("hf/someone/model@v1").spec == before


def test_a_page_that_changed_gives_the_same_fingerprint(hub, model, copy, load):
    hub.publish("someone/model", model)
    before = load().spec.fingerprint
    hub_models.write_card(copy, "mit", "Another word.\n")
    assert load(f"hf/someone/model@{hub.publish('someone/model', copy)}").spec.fingerprint == before


def test_a_revision_that_is_not_there(hub, model, load):
    hub.publish("someone/model", model)
    said = refused(load, "hf/someone/model@v9")
    assert "the repository someone/model has no such revision" in said
    assert "hf download someone/model --revision v9" in said


def test_a_repository_that_is_not_there_or_private(hub, load):
    said = refused(load, "hf/someone/nonesuch")
    assert "shows no repository someone/nonesuch: check its spelling" in said
    assert "hf auth login" in said


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_repository_says_how_to_get_in(hub, model, load, status):
    hub.publish("someone/model", model)
    hub.refused["someone/model"] = (status, "GatedRepo")
    said = refused(load)
    assert f"is gated: accept its terms at {hub.url}/someone/model, then log in with `hf auth login`" in said
    hub.refused.clear()
    assert load().spec.dim == 64


def test_a_download_that_breaks_off_is_resumed(hub, model, load):
    hub.publish("someone/model", model)
    hub.cut[WEIGHTS] = [1000, 5000]
    assert load().spec == load(f"hf@{model}").spec
    assert len(asked_for(hub, f"GET /someone/model/resolve/{hubs.commit(model)}/{WEIGHTS}")) == 3


def test_a_download_that_keeps_breaking_off_leaves_no_half_model(hub, model, load, monkeypatch):
    hub.publish("someone/model", model)
    hub.cut[WEIGHTS] = [100] * 50
    refused(load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline" in refused(load)  # what came so far does not count as a model
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.cut.clear()
    assert load().spec == load(f"hf@{model}").spec


@pytest.mark.slow
def test_a_process_that_is_killed_during_a_download_leaves_no_half_model(hub, model, tmp_path):
    """Processes of their own, with the hub's own variables."""
    code = "import sys; from embedder import registry; print(registry.load(sys.argv[1]).spec.fingerprint)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    command = [sys.executable, "-c", code, "hf/someone/model"]
    hub.publish("someone/model", model)
    hub.cut[WEIGHTS], hub.stalls = [5000], True
    first = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert hub.stalled.wait(60)
    first.kill()
    first.communicate()
    hub.cut.clear()
    offline = subprocess.run(
        command, env=environment | {"HF_HUB_OFFLINE": "1"}, cwd=ROOT, capture_output=True, text=True
    )
    assert "is set to offline" in offline.stderr
    second = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert second.stdout.strip() == registry.load(f"hf@{model}").spec.fingerprint, second.stderr


def test_other_bytes_than_announced_are_refused_and_fetched_again(hub, model, load):
    hub.publish("someone/model", model)
    hub.changed = True
    assert "arrived damaged: its sha256 is" in refused(load)
    hub.changed = False
    assert load().spec == load(f"hf@{model}").spec


def test_a_repository_without_safetensors_is_refused(hub, copy, load):
    """Pickled weights are not even fetched."""
    torch.save(load_file(copy / WEIGHTS), copy / "pytorch_model.bin")
    (copy / WEIGHTS).unlink()
    hub.publish("someone/model", copy)
    assert "someone/model has not all files that are needed" in refused(load)
    assert not asked_for(hub, "pytorch_model.bin")


def test_a_licence_that_forbids_commercial_use_comes_before_the_weights(hub, copy, load, caplog):
    hub_models.write_card(copy, "cc-by-nc-4.0")
    hub.publish("someone/model", copy)
    with pytest.raises(LicenceNotAccepted, match=r"someone/model have the licence cc-by-nc-4\.0"):
        load()
    assert not asked_for(hub, WEIGHTS)
    assert load(accept_noncommercial=True).spec.dim == 64
    assert "You confirmed that your use is not commercial" in caplog.text


def test_the_licence_is_shown(hub, model, load, caplog):
    hub.publish("someone/model", model)
    load()
    load()
    assert [each.getMessage() for each in caplog.records if "licence" in each.getMessage()] == [
        "The weights of someone/model have the licence apache-2.0."
    ]


@pytest.mark.parametrize("name", ["clap", "siglip2", "pe_audio", "pe_audio_video"])
def test_all_that_a_model_with_texts_needs_comes_from_a_hub(hub, tmp_path, load, name):
    """Each has a tokeniser and the settings of its processor beside its weights."""
    hub_models.save(tmp_path / "model", name)
    hub.publish("someone/model", tmp_path / "model")
    assert load().spec == load(f"hf@{tmp_path / 'model'}").spec


def published_timm(tmp_path, file=WEIGHTS):
    (tmp_path / "timm").mkdir()
    timm_tower(tmp_path / "timm" / file, "test_vit")
    return tmp_path / "timm"


@pytest.mark.parametrize("file", [WEIGHTS, "pytorch_model.bin"])
@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_vit.r160_in1k"])
def test_timm(hub, tmp_path, load, file, name, caplog):
    folder = published_timm(tmp_path, file)
    hub.publish("timm/test_vit.r160_in1k", folder)
    found = load(name).spec
    assert found == load(f"timm/test_vit@{folder / file}").spec
    assert "have the licence apache-2.0" in caplog.text
    hub.asked.clear()
    assert load(name).spec == found
    assert not hub.asked


def test_timm_reads_what_other_projects_saved(hub, tmp_path, load):
    """timm's own reader leaves out the token for masks that DINOv2's authors saved; a file of your own must fit."""
    (tmp_path / "timm").mkdir()
    state = timm_tower(tmp_path / "plain.safetensors", "test_vit").state_dict()
    save_file(state | {"mask_token": torch.zeros(1, 1, 64)}, tmp_path / "timm" / WEIGHTS)
    hub.publish("timm/test_vit.r160_in1k", tmp_path / "timm")
    assert load("timm/test_vit").spec == load(f"timm/test_vit@{tmp_path / 'plain.safetensors'}").spec
    with pytest.raises(WeightsError, match=r"do not fit(.|\n)*mask_token"):
        load(f"timm/test_vit@{tmp_path / 'timm' / WEIGHTS}")


def test_timm_weights_that_do_not_fit(hub, tmp_path, load):
    folder = published_timm(tmp_path)
    state = load_file(folder / WEIGHTS)
    state.pop("blocks.0.norm1.bias")
    save_file(state, folder / WEIGHTS)
    hub.publish("timm/test_vit.r160_in1k", folder)
    with pytest.raises(WeightsError, match=r"do not fit(.|\n)*blocks\.0\.norm1\.bias"):
        load("timm/test_vit")


def test_timm_interrupted_and_missing(hub, tmp_path, load):
    assert "timm/test_vit.r160_in1k" in refused(load, "timm/test_vit")
    folder = published_timm(tmp_path)
    hub.publish("timm/test_vit.r160_in1k", folder)
    hub.cut[WEIGHTS] = [1000] * 50
    refused(load, "timm/test_vit")
    hub.cut.clear()
    assert load("timm/test_vit").spec == load(f"timm/test_vit@{folder / WEIGHTS}").spec


def test_timms_licences_come_before_the_weights(hub, load):
    with pytest.raises(LicenceNotAccepted, match=r"cc-by-nc-4\.0"):
        load("timm/convnextv2_base.fcmae")
    assert not hub.asked
    with pytest.raises(WeightsError, match=r"no weights of .* on a hub; they are at https?://"):
        timm_encoder.blueprint(f"timm/{without_hub()}")


def without_hub():
    """Return the name of weights that timm has at a plain address only."""
    names = timm.list_models(pretrained=True)
    return next(name for name in names if not timm.get_pretrained_cfg(name).hf_hub_id)


def test_openclip(hub, tmp_path, load, monkeypatch):
    clips.register(tmp_path)
    (tmp_path / "clip").mkdir()
    path = clips.save(clips.make("tiny"), tmp_path / "clip" / "open_clip_model.safetensors")
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"hf_hub": "someone/clip/"}})
    hub.publish("someone/clip", tmp_path / "clip")
    hub.cut[path.name] = [1000]
    assert load("openclip/tiny/t").spec == openclip.blueprint(f"tiny@{path}").spec
    hub.asked.clear()
    assert load("openclip/tiny/t").spec.dim == 24
    assert not hub.asked
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"hf_hub": "someone/gated/"}})
    hub.publish("someone/gated", tmp_path / "clip")
    hub.refused["someone/gated"] = (403, "GatedRepo")
    assert "someone/gated is gated" in refused(load, "openclip/tiny/t")


def test_openclip_falls_back_to_the_name_that_the_repository_has(hub, tmp_path, load, monkeypatch):
    clips.register(tmp_path)
    (tmp_path / "clip").mkdir()
    path = clips.save(clips.make("tiny"), tmp_path / "clip" / "open_clip_pytorch_model.bin")
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"t": {"hf_hub": "someone/clip/"}})
    hub.publish("someone/clip", tmp_path / "clip")
    assert load("openclip/tiny/t").spec == openclip.blueprint(f"tiny@{path}").spec


def test_mlcd(hub, tmp_path, load, monkeypatch):
    mlcd(tmp_path / "tower")
    monkeypatch.setitem(mlcd_encoder.CONFIGS, "tiny", mlcd_encoder.ModelConfig("someone/tiny", 56, 14, 64))
    hub.publish("someone/tiny", tmp_path / "tower")
    hub.cut[WEIGHTS] = [1000]
    found = load("mlcd/tiny").spec
    assert found == load(f"mlcd@{tmp_path / 'tower'}").spec == load("hf/someone/tiny").spec
    hub.asked.clear()
    assert load("mlcd/tiny").spec == found
    assert not hub.asked


def test_mlcds_successors_come_by_the_same_door(hub, tmp_path, load):
    """RICE is an MLCD tower with another repository; its older files name their type ``mlcd``."""
    mlcd(tmp_path / "rice")
    rewrite(tmp_path / "rice" / "config.json", model_type="mlcd", rope_parameters=None)
    hub.publish("DeepGlint-AI/rice-vit-large-patch14-560", tmp_path / "rice")
    spec = load("hf/DeepGlint-AI/rice-vit-large-patch14-560").spec
    assert spec == load(f"mlcd@{tmp_path / 'rice'}").spec


def test_imagebinds_address(hub, tmp_path, load, monkeypatch):
    (tmp_path / "published").mkdir()
    path = binds.save(binds.build(), tmp_path / "published" / "imagebind_huge.pth")
    content = path.read_bytes()
    hub.publish("meta/imagebind", tmp_path / "published")
    monkeypatch.setattr(imagebind, "URL", f"{hub.url}/meta/imagebind/resolve/main/{path.name}")
    monkeypatch.setattr(imagebind, "SIZE", len(content))
    monkeypatch.setattr(imagebind, "SHA256", hashlib.sha256(content).hexdigest())
    place = tmp_path / "cache" / path.name
    hub.cut[path.name] = [1000]
    with pytest.raises(WeightsError, match="could not be fetched"):
        imagebind._published(tmp_path / "cache")
    assert not place.exists()
    assert imagebind._published(tmp_path / "cache") == place
    assert place.read_bytes() == content
    hub.asked.clear()
    assert imagebind._published(tmp_path / "cache") == place
    assert not hub.asked


def test_settings_that_are_not_in_the_cache_are_fetched(hub, model, load, monkeypatch):
    """Another program may have fetched the weights alone, or a download broke off. Defaults would be plausible."""
    hub.publish("someone/model", model)
    for name in ("config.json", WEIGHTS):
        hf_hub_download("someone/model", name, endpoint=hub.url)
    hub.publish("someone/model", model.parent)  # `main` has moved on; the weights in the cache have not
    hub.publish("someone/model", model, revision="before")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "offline" in refused(load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.asked.clear()
    assert load().spec == load(f"hf@{model}").spec
    assert not asked_for(hub, WEIGHTS)
    hub.asked.clear()
    load()
    assert not hub.asked


def test_a_repository_without_settings_is_asked_for_them_once(hub, copy, load, monkeypatch):
    (copy / "preprocessor_config.json").unlink()
    hub.publish("someone/model", copy)
    found = load().spec
    hub.asked.clear()
    assert load().spec == found == load(f"hf@{copy}").spec
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load().spec == found
    assert not hub.asked


def test_offline_another_revision_than_the_cached_one_is_refused(hub, model, load, monkeypatch):
    hub.publish("someone/model", model)
    load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "hf download someone/model --revision v9" in refused(load, "hf/someone/model@v9")
