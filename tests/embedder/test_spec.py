"""The fingerprint changes with everything that changes a number, and with nothing else."""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.spec import (
    AudioPreprocessing,
    EncoderSpec,
    ImagePreprocessing,
    MotionPreprocessing,
    PlanePreprocessing,
    VideoPreprocessing,
)

IMAGE = ImagePreprocessing(size=224, resize=256, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
AUDIO = AudioPreprocessing(features="mel", bands=40, low=50.0, high=8000.0, window=0.025, hop=0.01, parts=4)
PLANE = PlanePreprocessing(size=224, resize=256, interpolation="bilinear", values="heat", mean=0.0, std=1.0)
MOTION = MotionPreprocessing(samples=2000, interpolation="linear")
VIDEO = VideoPreprocessing(
    clips=5,
    seconds=2.0,
    frames=2,
    crops=3,
    size=224,
    resize=256,
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
SPEC = EncoderSpec(
    architecture="timm:tf_efficientnet_lite0",
    weights="ab" * 32,
    activation="relu6",
    output="pooled",
    dim=1280,
    tokens=(49, 1280),
    image=IMAGE,
    text="cd" * 32,
)
CHANGED = {
    "architecture": "timm:other",
    "weights": "ef" * 32,
    "activation": "quickgelu",
    "output": "projected",
    "dim": 512,
    "tokens": (49, 512),
    "image": None,
    "audio": AUDIO,
    "depth": PLANE,
    "thermal": PLANE,
    "imu": MOTION,
    "video": VIDEO,
    "text": None,
    "revision": 2,
    "parent": "ab" * 32,
    "adapter": "cd" * 32,
}
CHANGED_IMAGE = {
    "size": 225,
    "resize": 224,
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.4),
    "std": (0.25, 0.25, 0.2),
    "crop": "corner",
    "patches": 256,
}
CHANGED_AUDIO = {
    "features": "other",
    "bands": 41,
    "low": 51.0,
    "high": 4000.0,
    "window": 0.03,
    "hop": 0.02,
    "parts": 3,
    "rate": 16000,
    "seconds": 2.0,
    "mean": -4.0,
    "std": 9.0,
}
CHANGED_PLANE = {
    "size": 225,
    "resize": 224,
    "interpolation": "bicubic",
    "values": "disparity",
    "mean": 0.5,
    "std": 0.5,
    "scale": 38.9,
    "most": 75.0,
}
CHANGED_MOTION = {"samples": 1000, "interpolation": "nearest"}
CHANGED_VIDEO = {
    "clips": 4,
    "seconds": 1.0,
    "frames": 3,
    "crops": 1,
    "size": 225,
    "resize": 224,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.4),
    "std": (0.25, 0.25, 0.2),
}
PREPROCESSING = {
    "image": (IMAGE, CHANGED_IMAGE),
    "audio": (AUDIO, CHANGED_AUDIO),
    "depth": (PLANE, CHANGED_PLANE),
    "thermal": (PLANE, CHANGED_PLANE),
    "imu": (MOTION, CHANGED_MOTION),
    "video": (VIDEO, CHANGED_VIDEO),
}


def test_the_fingerprint_of_a_known_spec_never_changes() -> None:
    # Pinned: names of tables on disk contain it, so it must never change.
    text = (
        '{"activation":"relu6","architecture":"timm:tf_efficientnet_lite0","dim":1280,'
        '"image":{"crop":"centre","interpolation":"bicubic","mean":[0.5,0.5,0.5],"resize":256,"size":224,'
        '"std":[0.25,0.25,0.25]},"output":"pooled","revision":1,"text":"' + "cd" * 32 + '","tokens":[49,1280],'
        '"weights":"' + "ab" * 32 + '"}'
    )
    assert SPEC.canonical_json() == text
    assert SPEC.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_every_field_counts() -> None:
    assert set(CHANGED) == {field.name for field in fields(EncoderSpec)}
    others = [replace(SPEC, **{name: value}) for name, value in CHANGED.items() if getattr(SPEC, name) is not None]
    for modality, (usual, changed) in PREPROCESSING.items():
        assert set(changed) == {field.name for field in fields(usual)}
        others += [replace(SPEC, **{modality: replace(usual, **{name: value})}) for name, value in changed.items()]
    others += [replace(SPEC, **{name: value}) for name, value in CHANGED.items() if getattr(SPEC, name) is None]
    assert len({SPEC.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    for other in others:
        assert EncoderSpec.from_json(other.canonical_json()) == other


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, image=None, text=None, tokens=None),
        replace(SPEC, image=None, audio=AUDIO),
        replace(SPEC, audio=replace(AUDIO, rate=16000, mean=-4.25)),
    ],
)
def test_json_there_and_back(spec: EncoderSpec) -> None:
    back = EncoderSpec.from_json(spec.canonical_json())
    assert back == spec
    assert hash(back) == hash(spec)  # the tuples are tuples again


channels = st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3)


@given(mean=channels, std=channels, dim=st.integers(), name=st.text())
def test_numbers_and_names_survive_json_exactly(
    mean: tuple[float, float, float], std: tuple[float, float, float], dim: int, name: str
) -> None:
    spec = replace(SPEC, architecture=name, dim=dim, image=replace(IMAGE, mean=mean, std=std))
    back = EncoderSpec.from_json(spec.canonical_json())
    assert (back, back.fingerprint) == (spec, spec.fingerprint)


def test_modalities_are_those_with_preprocessing() -> None:
    assert SPEC.modalities == ("image",)
    assert replace(SPEC, audio=AUDIO).modalities == ("image", "audio")
    assert replace(SPEC, image=None).modalities == ()


def test_absent_fields_are_left_out_so_that_new_ones_change_no_old_fingerprint() -> None:
    absent = replace(SPEC, tokens=None, text=None)
    assert not {"tokens", "text"} & set(json.loads(absent.canonical_json()))


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        "3",
        "{}",
        json.dumps(asdict(SPEC) | {"colour": "blue"}),
        json.dumps({"architecture": "only"}),
        json.dumps(asdict(SPEC) | {"image": {"size": 224}}),
        json.dumps(asdict(SPEC) | {"image": 3}),
        json.dumps(asdict(SPEC) | {"audio": {"bands": 3}}),
        json.dumps(asdict(SPEC) | {"audio": 3}),
        json.dumps(asdict(SPEC) | {"video": {"clips": 3}}),
        json.dumps(asdict(SPEC) | {"tokens": 3}),
    ],
)
def test_what_is_no_spec_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an encoder spec|Expecting value"):
        EncoderSpec.from_json(text)


def test_spec_needs_the_standard_library_only() -> None:
    program = (
        "import sys; before = set(sys.modules); import embedder.spec; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - set(sys.stdlib_module_names) - {'embedder'}))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
