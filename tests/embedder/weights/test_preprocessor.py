"""The table of image processors has the defaults of transformers' own, and their names in every version."""

import pytest
import transformers

from embedder.weights import preprocessor
from embedder.weights.preprocessor import PROCESSORS


@pytest.mark.parametrize("kind", PROCESSORS)
def test_defaults_are_those_of_transformers(kind):
    theirs = getattr(transformers, f"{kind}ImageProcessor")().to_dict()
    saved = {name: value for name, value in theirs.items() if value is not None}
    found = preprocessor.parse({}, kind)
    assert found == preprocessor.parse(saved, "of no kind")
    assert found.interpolation == {2: "bilinear", 3: "bicubic"}[int(theirs["resample"])]
    assert found.mean == tuple(theirs["image_mean"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CLIPImageProcessor", "CLIP"),
        ("CLIPImageProcessorFast", "CLIP"),
        ("CLIPImageProcessorPil", "CLIP"),
        ("CLIPFeatureExtractor", "CLIP"),
        ("DINOv3ViTImageProcessorFast", "DINOv3ViT"),
        (None, None),
        (7, None),
    ],
)
def test_names_of_all_versions(name, kind):
    assert preprocessor.kind_of({"image_processor_type": name}) == kind
    assert preprocessor.kind_of({"feature_extractor_type": name}) == kind


def test_older_files_have_bare_lengths():
    """A bare length is the short side for CLIP, and both sides for ViT."""
    clip = preprocessor.parse({"size": 256, "crop_size": 224}, "CLIP")
    assert (clip.resize, clip.size, clip.crop) == (256, 224, "centre-floor")
    vit = preprocessor.parse({"size": 384}, "ViT")
    assert (vit.resize, vit.size, vit.crop) == (384, 384, "squash")
    deit = preprocessor.parse({}, "DeiT")
    assert (deit.resize, deit.size, deit.crop) == (256, 224, "squash")


@pytest.mark.parametrize("fields", [{"image_std": [0, 1, 1]}, {"image_mean": [1, 2]}, {"crop_size": 0}, {"size": True}])
def test_settings_that_make_no_pixels_are_refused(fields):
    with pytest.raises(ValueError, match="it says"):
        preprocessor.parse(fields, "CLIP")
