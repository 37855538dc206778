"""A zero-shot head through a CLIP model's own text side, from a store on; the model is small, random, made here."""

import json

import numpy as np
import open_clip
import pytest
import torch
from helpers.pictures import photo
from safetensors.torch import save_file

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.jobs.texts import text_sides
from services.settings import Settings
from store import Item, Store

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
CLASSES = ("red cat", "small dog", "house")
PROMPTS = ("a photo of a {}", "a {}")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "small-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(3)
    model = open_clip.create_model("small-clip", pretrained=None).eval()
    save_file(model.state_dict(), folder / "small.safetensors")
    return model, f"openclip/small-clip@{folder / 'small.safetensors'}"


def test_scores_are_cosines_of_the_models_own_vectors(model, tmp_path, cache_dir):
    clip, name = model
    store = Store.open(tmp_path / "db")
    items = [
        Item(uri=f"{i}.png", data=photo(i), labels=[CLASSES[i % 3]], split="test" if i > 8 else "train")
        for i in range(15)
    ]
    ingest(store, items, task="things")
    backfill(store, registry.load(name, backend="torch-fp32", cache_dir=cache_dir))
    settings = Settings(store=store.uri, backend="torch-fp32", cache=cache_dir)
    train(
        store,
        Registry(tmp_path / "heads"),
        task="things",
        encoders=[name],
        kind="zeroshot",
        name="words",
        params={"blend": 0, "centre": False, "prompts": list(PROMPTS)},
        texts=text_sides(store, settings),
    )
    head = Registry(tmp_path / "heads").load("words").head
    X = store.matrix("things", [name]).X
    tokenizer = open_clip.get_tokenizer("small-clip")
    with torch.inference_mode():
        said = [
            clip.encode_text(tokenizer([p.format(c) for c in head.classes]), normalize=True).numpy() for p in PROMPTS
        ]
    texts = np.mean(said, axis=0)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    cosines = X / np.linalg.norm(X, axis=1, keepdims=True) @ texts.T
    scores = head.scores(X)
    np.testing.assert_allclose(scores - scores[:, :1], 100 * (cosines - cosines[:, :1]), atol=0.02)
