"""SigLIP 2 NaFlex through hf/…: images keep their shape. Compared with transformers' own processor and network."""

import json

import numpy as np
import pytest
import torch
import transformers
from helpers import hub_models
from helpers.towers import rewrite
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers.models.siglip2 import image_processing_pil_siglip2 as theirs

from embedder import probe, registry
from embedder.encoders.hf import text
from embedder.encoders.hf.model import Source
from embedder.encoders.hf.networks import positions
from embedder.engines.jpegs.decoder import can_resize
from embedder.errors import WeightsError
from embedder.media import patches
from embedder.probe import cosines
from embedder.weights import hub_folder

SIZE, MOST = 8, 21


@pytest.fixture(scope="module", params=["siglip2", "siglip2_vision_model"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("naflex") / "model"
    return folder, hub_models.save(folder, request.param)


def pictures():
    """Return photos and strips, so that grids from one row to two columns occur."""
    photo = Image.fromarray(load_sample_images().images[0])
    sizes = [(640, 427), (300, 300), (60, 400), (640, 30), (1, 1)]
    return [*(photo.crop((0, 0, *size)) for size in sizes), *probe.images()]


def prepared_by_transformers(folder, images):
    return transformers.Siglip2ImageProcessorPil.from_pretrained(folder)(images=images, return_tensors="pt")


def vectors_of_transformers(model, **inputs):
    with torch.inference_mode():
        found = model.get_image_features(**inputs) if hasattr(model, "get_image_features") else model(**inputs)
    return found.pooler_output.numpy()


@given(st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)), st.sampled_from([(16, 256), (14, 1024), (8, 21)]))
def test_grids_are_those_of_transformers(size, kind):
    width, height = size
    wanted = theirs.get_image_size_for_max_num_patches(height, width, *kind)
    assert tuple(kind[0] * count for count in patches.grid(size, *kind)) == wanted


def test_pixels_are_those_of_the_repositorys_processor(saved):
    folder, _ = saved
    encoder = registry.load(f"hf@{folder}", backend="torch-fp32")
    wanted = prepared_by_transformers(folder, pictures())
    mean, std = (np.tile(values, SIZE**2) for values in (encoder.spec.image.mean, encoder.spec.image.std))
    for image, pixels, mask, grid in zip(pictures(), *map(np.asarray, wanted.values()), strict=True):
        rows = encoder.prepare(image)
        count = int(mask.sum())
        assert rows[0, :4].tolist() == [grid[0], 0, grid[1], 0]
        np.testing.assert_allclose((rows[1 : count + 1] / 255 - mean) / std, pixels[:count], atol=1e-5)
        assert not rows[count + 1 :].any()


def test_positions_are_interpolated_as_transformers_does():
    """For every grid. torch's own is wrong for one column of several rows, so NumPy computes all of them as well."""
    grids = torch.tensor([(rows, columns) for rows in range(1, MOST + 1) for columns in range(1, MOST // rows + 1)])
    table = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    found = positions(table, grids.int(), MOST)
    resize = transformers.models.siglip2.modeling_siglip2.Siglip2VisionEmbeddings.resize_positional_embeddings
    wanted = resize(table.reshape(4, 4, 6), grids, MOST)
    for (rows, columns), have, want in zip(grids.tolist(), found.numpy(), wanted.numpy(), strict=True):
        exact = np.einsum("ra,cb,abd->rcd", triangles(rows), triangles(columns), table.numpy().reshape(4, 4, 6))
        np.testing.assert_allclose(have[: rows * columns], exact.reshape(-1, 6), atol=1e-5)
        if columns > 1 or rows == 1:
            np.testing.assert_allclose(have[: rows * columns], want[: rows * columns], atol=1e-5)


def triangles(count):
    """Return the weights of 4 cells in each of `count` cells: triangles as wide as two cells of the coarser grid."""
    width = max(4 / count, 1)
    weights = np.array(
        [[max(0, 1 - abs(j + 0.5 - (i + 0.5) * 4 / count) / width) for j in range(4)] for i in range(count)]
    )
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32", "openvino-bf16", "torch-cpu-bf16"])
def test_vectors_equal_transformers_whatever_the_shapes_in_a_batch(saved, cache_dir, backend):
    folder, model = saved
    encoder = registry.load(f"hf@{folder}", backend=backend, cache_dir=cache_dir)
    wanted = vectors_of_transformers(model, **prepared_by_transformers(folder, pictures()))
    rows = np.stack([encoder.prepare(image) for image in pictures()])
    together = encoder.embed(rows).vectors
    alone = np.concatenate([encoder.embed(row[None]).vectors for row in rows])
    least = 0.9999 if backend.endswith("fp32") else 0.999
    assert cosines(together, wanted).min() > least
    assert cosines(together, alone).min() > least
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), np.linalg.norm(wanted, axis=1), rtol=2e-2)
    assert encoder.spec.tokens is None


def test_padding_does_not_change_a_vector(saved):
    folder, model = saved
    encoder = registry.load(f"hf@{folder}", backend="torch-fp32")
    image = pictures()[1]
    rows, count = encoder.prepare(image), np.prod(patches.grid(image.size, SIZE, MOST))
    assert count < MOST
    noisy = rows.copy()
    noisy[count + 1 :] = np.random.default_rng(0).integers(0, 256, noisy[count + 1 :].shape)
    found = encoder.embed(np.stack([rows, noisy])).vectors
    np.testing.assert_array_equal(*found)
    inputs = prepared_by_transformers(folder, [image])
    bare = {name: inputs[name][:, :count] for name in ("pixel_values", "pixel_attention_mask")}
    unpadded = vectors_of_transformers(model, **bare, spatial_shapes=inputs["spatial_shapes"])
    np.testing.assert_allclose(found[:1], unpadded, atol=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
def test_its_own_tokeniser_makes_lower_case(tmp_path, side):
    """The class that transformers has for SigLIP 2 does so. Older repositories name Gemma's, which may not."""
    hub_models.save(tmp_path, "siglip2")
    letters = {letter: 5 + index for index, letter in enumerate("▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJ")}
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4} | letters
    theirs = transformers.Siglip2Tokenizer(vocabulary, [], padding_side=side, model_max_length=16)
    theirs.save_pretrained(tmp_path)
    wanted = theirs(["A Bee", "cab"], padding="max_length", max_length=16, return_tensors="np")
    source = Source.of(tmp_path)
    found = text.tokeniser(source, source.family.text)(["A Bee", "cab"])
    np.testing.assert_array_equal(found, list(wanted.values()))
    path = tmp_path / "tokenizer.json"
    rewrite(path, normalizer=json.loads(path.read_text())["normalizer"]["normalizers"][1])  # without the lower case
    np.testing.assert_array_equal(text.tokeniser(source, source.family.text)(["A Bee", "cab"]), found)


def test_jpegs_are_always_decoded_whole(saved):
    """Half the size may round to another grid, and the decoder on a GPU makes squares."""
    encoder = registry.load(f"hf@{saved[0]}", backend="torch-fp32")
    assert probe.jpeg_side(encoder) is None
    assert not can_resize(encoder.spec.image)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"patch_size": 16}, "says patch_size 16; the network takes patches of 8 × 8 pixels"),
        ({"image_processor_type": "SiglipImageProcessor"}, "SiglipImageProcessor makes squares; the network takes"),
        ({"max_num_patches": 10**5}, "max_num_patches 100000; supported are at most 65535"),
        ({"max_num_patches": 0}, "max_num_patches 0"),
        ({"do_resize": False}, r"leaves out \['do_resize'\]"),
    ],
)
def test_other_preprocessing_is_refused(saved, tmp_path, fields, said):
    path = tmp_path / "preprocessor_config.json"
    path.write_text((saved[0] / path.name).read_text())
    rewrite(path, **fields)
    with pytest.raises(WeightsError, match=said):
        hub_folder.preprocessing(tmp_path, SIZE, "Siglip2")
