"""A CLIP model from a folder goes through everything: commands, store, head, and both services over HTTP."""

import io
import json

import numpy as np
import open_clip
import pytest
import torch
from helpers import clips
from helpers.pictures import photo
from typer.testing import CliRunner

from services.cli.app import app
from services.client import Client
from services.processes import free_ports, running
from services.settings import Settings
from services.web.errors import RemoteProblem
from store import Store

WORDS = ("", ":pooled", ":penultimate")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips.register(folder)
    model = clips.make("tiny-quickgelu")
    clips.save_folder(model, "tiny-quickgelu", folder / "clip", file="open_clip_model.safetensors")
    return model, f"openclip@{folder / 'clip'}"


@pytest.fixture(scope="module")
def settings(tmp_path_factory, cache_dir, model):
    folder, ports = tmp_path_factory.mktemp("served"), free_ports(2)
    return Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        cache=cache_dir,
        encoders=tuple(model[1] + words for words in WORDS),
        backend="torch-cpu-fp32",  # the engines have tests of their own; this one converts nothing
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="WARNING",
    )


@pytest.fixture(scope="module")
def trained(settings, model, tmp_path_factory):
    """Store photos of two classes, embed them, and train a head on the vectors before the projection."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(40):
        place = folder / ("even" if seed % 2 else "odd")
        place.mkdir(exist_ok=True)
        (place / f"{seed}.png").write_bytes(photo(seed))
    for line in (
        ["ingest", folder, "--task", "parity"],
        ["backfill", "--encoder", f"{model[1]}:pooled"],
        ["backfill", "--encoder", f"{model[1]}:penultimate", "--tokens"],
        ["train", "--task", "parity", "--encoder", f"{model[1]}:pooled", "--name", "parity"],
    ):
        done = CliRunner().invoke(app, [*map(str, line), "--json"], env=settings.environment())
        assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services(settings, trained):
    with running(settings) as started:
        yield started


def files():
    """Real photos as PNG, which is lossless, so that the services decode the pixels that open_clip gets."""
    for image in clips.photos():
        out = io.BytesIO()
        image.save(out, "PNG")
        yield out.getvalue()


def cosines(a, b):
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_vectors_and_texts_over_http_are_open_clips(services, model):
    clip, name = model
    with Client(services.embedding_url, service="embedding") as client:
        batch = client.embed(files(), encoder=name)
        assert cosines([item.vector for item in batch.items], clips.encode(clip, clips.photos())).min() > 0.999
        alone = [client.embed([file], encoder=name).items[0].vector for file in files()]
        assert cosines([item.vector for item in batch.items], alone).min() > 0.9999
        texts = client.embed_texts(["a photo of a cat", "solar cell"], encoder=name)
        with torch.inference_mode():
            theirs = clip.encode_text(open_clip.get_tokenizer("tiny-quickgelu")(["a photo of a cat", "solar cell"]))
        assert cosines(texts, theirs).min() > 0.999


def test_every_output_has_its_own_identity_over_http(services, model, settings):
    clip, name = model
    with Client(services.embedding_url, service="embedding") as client:
        plain, pooled, penultimate = (client.embed(files(), encoder=name + words) for words in WORDS)
        assert len({plain.fingerprint, pooled.fingerprint, penultimate.fingerprint}) == 3
        theirs = clips.encode(clip, clips.photos())
        projected = np.stack([item.vector for item in pooled.items]) @ clip.visual.proj.detach().numpy()
        assert cosines(projected, theirs).min() > 0.999
        assert cosines([item.vector for item in penultimate.items], theirs).min() > 0.999
        tokens = client.embed(files(), encoder=f"{name}:penultimate", tokens=True).items[0].vector
        with torch.inference_mode():
            found = clip.visual.forward_intermediates(
                clips.pixels(clip, clips.photos()[:1]), indices=[1], normalize_intermediates=True, output_fmt="NLC"
            )
        assert cosines([tokens], found["image_intermediates"][0]).min() > 0.999
        with pytest.raises(RemoteProblem, match="takes no text"):
            client.embed_texts(["a cat"], encoder=f"{name}:pooled")
    store = Store.open(settings.store)
    assert {table.fingerprint for table in store.encoders()} == {pooled.fingerprint, penultimate.fingerprint}
    assert store.tokens(f"{name}:penultimate").shape == (16, 64)


def test_a_head_on_pooled_vectors_answers(services, model, trained):
    with Client(services.classification_url) as client:
        response = client.classify([photo(100), photo(101)], heads=["parity"])
    assert all(item.answers[0].label in ("even", "odd") for item in response.items)
