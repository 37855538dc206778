"""imagebind/… is compared with the authors' own forward pass, on inputs from their loaders where these still run."""

import io
import json

import numpy as np
import pytest
import soundfile
import torch
from helpers.binds import DIM, HEADS, SMALL, build, loaders, save
from helpers.paced import Paced
from helpers.videos import animation
from PIL import Image
from safetensors.torch import save_file
from torchaudio.functional import resample

from embedder import media, probe, registry
from embedder.encoder import Pace, pace_of
from embedder.encoders import imagebind
from embedder.encoders.imagebind import prepare
from embedder.encoders.imagebind.model import Checkpoint
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder
from embedder.errors import ProbeMismatch, UnknownEncoder, WeightsError

BACKENDS = {
    "torch-fp32": 0.9999,
    "openvino-fp32": 0.9999,
    "torch-bf16": 0.999,
    "torch-fp16": 0.999,
    "openvino-bf16": 0.999,
}
CLIP_MEAN, CLIP_STD = torch.tensor(prepare.IMAGE.mean), torch.tensor(prepare.IMAGE.std)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("imagebind")


@pytest.fixture(scope="module")
def checkpoint(model, folder):
    return save(model, folder / "small.pth")


def load(checkpoint, folder, backend="torch-fp32"):
    return registry.load(
        f"imagebind/huge@{checkpoint}", backend=backend, cache_dir=folder / "cache", accept_noncommercial=True
    )


@pytest.fixture(scope="module", params=BACKENDS)
def encoder(request, checkpoint, folder):
    return load(checkpoint, folder, request.param)


def equal(encoder, ours, theirs):
    """Compare directions, and lengths as far as 8 bits of precision allow."""
    least = next(least for name, least in BACKENDS.items() if name in encoder.backend.replace("-cpu", ""))
    cosines = probe.cosines(ours, theirs.numpy())
    assert cosines.min() > least
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), theirs.norm(dim=1), rtol=1e-3 if least > 0.999 else 2e-2)


def embed(encoder, modality, items):
    return encoder.embed(np.stack([encoder.prepare(item) for item in items]), modality=modality).vectors


@torch.inference_mode()
def forward(model, tower, inputs):
    return model({tower: inputs})[tower]


def test_pictures(encoder, model, tmp_path, monkeypatch):
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, image in zip(paths, probe.images(), strict=True):
        image.save(path)
    wanted = forward(model, "vision", loaders(monkeypatch).load_and_transform_vision_data(paths, "cpu"))
    pictures = [media.decode(path.read_bytes()) for path in paths]
    equal(encoder, embed(encoder, "image", pictures), wanted)
    assert probe.cosines(wanted.numpy()[:-1], wanted.numpy()[1:]).max() < 0.99  # otherwise equality would show nothing
    assert np.allclose(wanted.norm(dim=1), 1)


def test_texts(encoder, model, monkeypatch):
    texts = [*probe.TEXTS, "", "Grüße &amp; 北京 🐶", "many words " * 60]
    ids = loaders(monkeypatch).load_and_transform_text(texts, "cpu")
    equal(encoder, encoder.embed_texts(texts), forward(model, "text", ids))
    equal(encoder, encoder.embed_texts(texts[:1]), forward(model, "text", ids[:1]))


@pytest.mark.parametrize(
    ("rate", "seconds", "starts"), [(16_000, 7.3, (0, 42_399, 84_799)), (44_100, 3.0, (0, 8_000, 16_000))]
)
def test_sounds(encoder, model, monkeypatch, rate, seconds, starts):
    """Clips begin at the sample at or before 0, a half and all of the remaining time: the float 5.3 is below 5.3."""
    samples = np.random.default_rng(3).normal(size=int(rate * seconds)) * np.linspace(0.01, 0.3, int(rate * seconds))
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV", subtype="FLOAT")
    wave = resample(torch.from_numpy(samples.astype(np.float32))[None], rate, 16_000)
    clips = [wave[:, start:][:, :32_000].clone() for start in starts]
    spectra = torch.stack([loaders(monkeypatch).waveform2melspec(clip, 16_000, 128, 204) for clip in clips])
    found = encoder.prepare(media.decode(out.getvalue()))
    np.testing.assert_allclose(found, (spectra + 4.268) / 9.138, atol=2e-3)
    wanted = forward(model, "audio", ((spectra + 4.268) / 9.138)[None])
    equal(encoder, encoder.embed(found[None], modality="audio").vectors, wanted)
    assert 19 < wanted.norm() <= 20.001  # the authors' scale; the mean of different clips is shorter


@pytest.mark.parametrize("size", [{"width": 333, "height": 250}, {"width": 240, "height": 300}])
def test_videos(encoder, model, monkeypatch, size):
    """4.5 s at 10 frames a second: clips of 20 frames begin at 0, 0.625, 1.25, 1.875, 2.5 s, or the frame after."""
    data = animation("PNG", 45, **size)
    frames = media.decode(data, "video").frames(range(45), Image.Image.copy)
    film = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).permute(3, 0, 1, 2).float() / 255
    clips = []
    for first, last in ((0, 19), (7, 26), (13, 32), (19, 38), (25, 44)):
        pair = film[:, [first, last]]
        height, width = (224 * side // min(pair.shape[2:]) for side in pair.shape[2:])
        scaled = torch.nn.functional.interpolate(pair, (height, width), mode="bilinear", align_corners=False)
        clips.append((scaled - CLIP_MEAN.view(3, 1, 1, 1)) / CLIP_STD.view(3, 1, 1, 1))
    views = torch.stack(loaders(monkeypatch).SpatialCrop(224, num_crops=3)(clips))[None]
    wanted = forward(model, "vision", views)
    found = encoder.prepare(media.decode(data, "video"))
    assert found.shape == (15, 2, 224, 224, 3)
    plain = views[0].permute(0, 2, 3, 4, 1) * CLIP_STD + CLIP_MEAN
    assert np.abs(found - 255 * plain.numpy()).max() < 1.01  # whole numbers
    equal(encoder, encoder.embed(found[None], modality="video").vectors, wanted)


@pytest.mark.parametrize(("rows", "videos"), [(1024, 1024 // 15), (64, 32)])
def test_a_call_has_fewer_videos_than_a_pass_has_views(checkpoint, folder, rows, videos):
    blueprint = load(checkpoint, folder).blueprint
    encoder = GraphEncoder("it", blueprint, Paced(Pace(rows, 2)), Cache(folder / "cache"))
    assert pace_of(encoder, "video") == Pace(videos, 2)
    assert pace_of(encoder, "depth") == Pace(rows, 2)


def test_depth_thermal_and_motion(encoder, model):
    random = torch.Generator().manual_seed(4)
    for modality, shape in (("depth", (1, 224, 224)), ("thermal", (1, 224, 224)), ("imu", (6, 2000))):
        inputs = torch.rand((3, *shape), generator=random)
        scale = {"depth": 5, "thermal": 10, "imu": 5}[modality]
        wanted = forward(model, modality, inputs)
        equal(encoder, encoder.embed(inputs.numpy(), modality=modality).vectors, wanted)
        np.testing.assert_allclose(wanted.norm(dim=1), scale, rtol=1e-5)


def test_alone_and_in_a_batch(encoder):
    for modality in encoder.spec.modalities:
        prepared = np.stack([encoder.prepare(item) for item in probe.samples(modality) * 3])
        together = encoder.embed(prepared, modality=modality).vectors
        alone = encoder.embed(prepared[-1:], modality=modality).vectors
        assert probe.cosines(alone, together[-1:]).min() > 0.9999
        assert together.shape == (len(prepared), DIM)
        assert encoder.embed(prepared[:0], modality=modality).vectors.shape == (0, DIM)
        with pytest.raises(ValueError, match="as prepare"):
            encoder.embed(prepared[:, ..., :-1], modality=modality)
    with pytest.raises(ValueError, match="no tokens"):
        encoder.embed(prepared, modality="video", tokens=True)


def test_the_probe_covers_every_modality(encoder, checkpoint, folder):
    reference = load(checkpoint, folder).reference_probe()
    assert encoder.spec.modalities == ("image", "audio", "depth", "thermal", "imu", "video")
    assert len(reference) == 5 + 3 + 3 + 3 + 2 + 1 + len(probe.TEXTS)
    assert probe.check(encoder, reference) > 0.999
    with pytest.raises(ProbeMismatch, match="video 0"):
        probe.check(encoder, np.where(np.arange(len(reference))[:, None] == 16, -reference, reference))


def test_every_tensor_counts(model, checkpoint, folder):
    spec = imagebind.blueprint(f"imagebind/huge@{checkpoint}", folder).spec
    save_file(model.state_dict(), folder / "small.safetensors")
    (folder / "small.safetensors.json").write_text(json.dumps({"heads": SMALL}))
    assert imagebind.blueprint(f"imagebind/huge@{folder / 'small.safetensors'}", folder).spec == spec
    assert (spec.dim, spec.tokens, spec.activation) == (DIM, None, "gelu")
    seen = {spec.fingerprint}
    for tower in HEADS:
        state = dict(model.state_dict())
        name = f"modality_trunks.{tower}.blocks.0.mlp.fc1.bias"
        torch.save(state | {name: state[name] + 1e-3}, folder / "other.pth")
        (folder / "other.pth.json").write_text(json.dumps({"heads": SMALL}))
        seen.add(imagebind.blueprint(f"imagebind/huge@{folder / 'other.pth'}", folder).spec.fingerprint)
    (folder / "other.pth.json").write_text(json.dumps({"heads": SMALL | {"imu": 2}}))
    seen.add(imagebind.blueprint(f"imagebind/huge@{folder / 'other.pth'}", folder).spec.fingerprint)
    assert len(seen) == 2 + len(HEADS)


@pytest.mark.parametrize("name", ["imagebind/base", "imagebind/huge@", "imagebind/huge/", "imagebind/huge-2@x.pth"])
def test_unknown_names(name, folder):
    with pytest.raises(UnknownEncoder, match="imagebind/huge@"):
        imagebind.blueprint(name, folder)


def test_other_checkpoints_are_refused(model, folder):
    state = model.state_dict()
    torch.save({name: tensor for name, tensor in state.items() if ".imu." not in name}, folder / "five.pth")
    with pytest.raises(WeightsError, match="no tower imu"):
        imagebind.blueprint(f"imagebind/huge@{folder / 'five.pth'}", folder)
    less = {name: tensor for name, tensor in state.items() if name != "modality_trunks.audio.blocks.1.norm_2.bias"}
    torch.save(less, folder / "less.pth")
    with pytest.raises(WeightsError, match=r"(?s)do not fit.*norm_2\.bias"):
        Checkpoint(folder / "less.pth", SMALL).build("audio")
    with pytest.raises(WeightsError, match="no ImageBind model has the shapes"):
        Checkpoint(folder / "less.pth", SMALL | {"vision": 7}).build("vision")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        imagebind.blueprint(f"imagebind/huge@{folder / 'nothing.pth'}", folder)
    (folder / "less.pth.json").write_text('{"heads": {"vision": 2}}')
    with pytest.raises(WeightsError, match=r'expected is \{"heads": \{"vision": 16'):
        imagebind.blueprint(f"imagebind/huge@{folder / 'less.pth'}", folder)


@pytest.mark.slow
def test_full_size(folder):
    """Compare all towers of imagebind_huge, random, with their part of ``forward``: 5 GB on disk, 12 GB in memory."""
    torch.manual_seed(1)
    full = torch.no_grad()(imagebind.library("models.imagebind_model").imagebind_huge)().eval()
    path = folder / "huge.pth"
    torch.save(full.state_dict(), path)
    encoder = load(path, folder)
    assert (encoder.spec.architecture, encoder.spec.dim) == ("imagebind:huge", 1024)
    towers = {"image": "vision", "video": "vision"}
    for modality in encoder.spec.modalities:
        item = encoder.prepare(probe.samples(modality)[0])[None]
        found = encoder.embed(item, modality=modality).vectors
        inputs = torch.from_numpy(item)
        if modality in towers:
            inputs = ((inputs / 255 - CLIP_MEAN) / CLIP_STD).movedim(-1, 2 if modality == "video" else 1)
        wanted = forward(full, towers.get(modality, modality), inputs)
        equal(encoder, found, wanted)
        encoder._engine._runs.clear()  # a tower takes gigabytes
    found = encoder.embed_texts(probe.TEXTS)
    ids = torch.from_numpy(imagebind._tokeniser()(probe.TEXTS)[0])
    equal(encoder, found, forward(full, "text", ids))
    path.unlink()
