"""Head folders: bit-equal round trips, refusals with a reason, and frozen heads that must always load."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.toys import Toy, detector_of, record_of
from safetensors.numpy import load_file, save_file

from classifiers.errors import BadArtifact, UnknownCoverage, UnknownSets
from classifiers.published.artifact import load, outlier_file, save
from classifiers.published.manifest import EncoderBlock, Manifest

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def folder(head, toy, outliers, tmp_path):
    quantiles, files = outliers
    return save(tmp_path / "toy", head, record_of(head, toy, outlier=quantiles), {"report.json": b"{}", **files})


def test_save_then_load_is_bit_equal(head, toy, folder):
    again = load(folder)
    for name, array in head.arrays().items():
        assert array.flags.c_contiguous, f"{name}: a loaded array is, and BLAS rounds differently for another layout"
        assert again.head.arrays()[name].tobytes() == array.tobytes()
    np.testing.assert_array_equal(again.head.predict_proba(toy.X), head.predict_proba(toy.X))
    assert again.head.meta() == head.meta()
    assert (again.name, again.version) == ("toy", folder.name)
    for name, array in detector_of(toy).arrays().items():
        assert again.detector.arrays()[name].tobytes() == array.tobytes()
    found = sorted(path.name for path in folder.iterdir())
    assert found == ["head.safetensors", "manifest.json", "outlier.safetensors", "report.json"]
    assert again.manifest.protocol == 3


def edited(folder, **changes):
    """Return the folder with other manifest fields, renamed to their digest if the manifest is valid."""
    path = folder / "manifest.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(raw))
    try:
        name = folder.name[:-12] + Manifest.model_validate(raw).digest()
    except ValueError:
        name = folder.name
    return folder.rename(folder.with_name(name))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": 4}, "protocol 4; this version of headwater reads up to 3"),
        ({"protocol": None}, "protocol None"),
        ({"kind": "oracle"}, "kind 'oracle'; known kinds: fusion, gaussian, linear, mixture"),
        ({"classes": ["a", "a", "b", "c", "d"]}, "classes repeat"),
        ({"classes": ["a", "b", "c", "d"]}, "5 counts for 4 classes"),
        ({"counts": [1, 2, 3, 4], "classes": ["a", "b", "c", "d"]}, "do not make a"),
        ({"temperature": 0}, "manifest field 'temperature'"),
        ({"temperature": float("nan")}, "manifest.json is refused: it holds NaN"),
        ({"temperature": 1e-308}, "manifest field 'temperature'"),
        ({"temperature": 1e308}, "manifest field 'temperature'"),
        ({"training_ids": "xyz"}, "manifest field 'training_ids'"),
        ({"surprise": 1}, "manifest field 'surprise'"),
        ({"conformal": {"rows": 2, "lac": [0.1], "aps": [0.1, 0.2]}}, "manifest field 'conformal"),
        ({"conformal": {"rows": 2, "lac": [0.2, 0.1], "aps": [0.1, 0.2]}}, "manifest field 'conformal"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "manifest field 'files"),
        ({"files": {"/etc/passwd": "0" * 64}}, "manifest field 'files"),
        ({"files": {}}, "lists no head.safetensors"),
        ({"arrays": {}}, "other shapes than the manifest lists"),
        (
            {"encoders": [{"name": "toy", "fingerprint": "a" * 64, "columns": [0, 13]}]},
            "the head reads 12 columns, its encoders have 13",
        ),
        (
            {"encoders": [{"name": "toy", "fingerprint": "a" * 64, "columns": [1, 12]}]},
            "expected to start at 0",
        ),
    ],
)
def test_a_manifest_that_is_not_right_is_refused(folder, changes, reason):
    with pytest.raises(BadArtifact, match=reason) as refused:
        load(edited(folder, **changes))
    assert reason.split("'")[0] in refused.value.reason


def test_a_manifest_changed_after_the_fact_is_refused(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"accuracy": 0.5', '"accuracy": 0.9'))
    with pytest.raises(BadArtifact, match="its name another"):
        load(folder)


@pytest.mark.parametrize("name", ["head.safetensors", "outlier.safetensors", "report.json"])
def test_a_file_changed_after_the_fact_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(BadArtifact, match=f"{name} has digest"):
        load(folder)


@pytest.mark.parametrize("name", ["head.safetensors", "outlier.safetensors", "report.json", "manifest.json"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(BadArtifact, match=f"{name} is missing"):
        load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\xff"])
def test_a_manifest_that_is_no_object_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadArtifact, match=r"manifest\.json"):
        load(folder)


def with_arrays(folder, data, name="head.safetensors"):
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return edited(folder, files={**files, name: hashlib.sha256(data).hexdigest()})


def test_arrays_that_are_not_those_of_the_manifest_are_refused(folder, tmp_path):
    arrays = {name: array.astype(np.float64) for name, array in load_file(folder / "head.safetensors").items()}
    save_file(arrays, tmp_path / "other")
    with pytest.raises(BadArtifact, match="other shapes"):
        load(with_arrays(folder, (tmp_path / "other").read_bytes()))


def test_a_file_that_is_no_safetensors_is_refused(folder):
    with pytest.raises(BadArtifact, match="not a safetensors file"):
        load(with_arrays(folder, b"\x80\x04 a pickle, say"))


def test_an_outlier_file_that_is_no_detector_is_refused(head, toy, folder):
    narrow = Toy(toy.X[:, :6], toy.codes, toy.labels, toy.classes)
    for data, reason in (
        (b"\x80\x04 a pickle, say", "outlier.safetensors is not a safetensors file"),
        ((folder / "head.safetensors").read_bytes(), "outlier.safetensors holds no outlier detector"),
        (outlier_file(detector_of(narrow))["outlier.safetensors"], "outlier.safetensors is 6 wide, the head 12"),
    ):
        folder = with_arrays(folder, data, "outlier.safetensors")
        with pytest.raises(BadArtifact, match=reason):
            load(folder)


def test_outlier_quantiles_without_the_detector_are_refused(head, toy, outliers, tmp_path):
    record = record_of(head, toy, outlier=outliers[0])
    with pytest.raises(BadArtifact, match=r"outlier quantiles, but no outlier\.safetensors"):
        load(save(tmp_path / "toy", head, record))


def test_columns_of_several_encoders_follow_each_other(head, toy, tmp_path):
    blocks = (
        EncoderBlock(name="one", fingerprint="1" * 64, columns=(0, 5)),
        EncoderBlock(name="two", fingerprint="2" * 64, columns=(5, 12)),
    )
    both = load(save(tmp_path / "both", head, record_of(head, toy, encoders=blocks)))
    assert both.fingerprints == ("1" * 64, "2" * 64)


@pytest.mark.parametrize("kind", ["gaussian", "linear", "protocol-2/gaussian", "protocol-2/linear"])
def test_a_head_saved_long_ago_loads_with_the_same_scores(kind):
    """make_fixtures.py wrote these heads with protocols 1 and 2. Never replace them: old heads must load."""
    (folder,) = (FIXTURES / kind).glob("2*")
    expected = np.load(FIXTURES / kind / "expected.npz")
    published = load(folder)
    X = expected["X"]
    np.testing.assert_allclose(published.head.scores(X), expected["scores"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(published.head.predict_proba(X), expected["proba"], rtol=1e-4, atol=1e-6)
    answers = published.answer(X, coverage=0.9)
    assert [answer.label for answer in answers] == expected["labels"].tolist()
    assert [len(answer.prediction_set) for answer in answers] == expected["set_sizes"].tolist()
    if kind.endswith("gaussian"):
        found = [answer.outlier_percentile for answer in answers]
        np.testing.assert_allclose(found, expected["outlier"], atol=0.01)
        for answer, percentile in zip(published.answer(X, max_outlier=50), found, strict=True):
            assert answer.abstained == (("outlier",) if percentile > 50 else ())
    else:
        assert {answer.outlier_percentile for answer in answers} == {None}
    with pytest.raises(UnknownCoverage, match=r"'0.77'; known: 0.8, 0.9, 0.95, 0.99"):
        published.answer(X, coverage=0.77)
    with pytest.raises(UnknownSets, match="earlier version"):
        published.answer(X, sets="aps")


@pytest.mark.parametrize("kind", ["gaussian", "linear", "mixture", "fusion"])
def test_a_head_of_protocol_3_loads_with_the_same_answers(kind):
    """make_fixtures.py wrote these heads. Never replace them: old heads must load."""
    (folder,) = (FIXTURES / "protocol-3" / kind).glob("2*")
    expected = np.load(FIXTURES / "protocol-3" / kind / "expected.npz")
    published = load(folder)
    X = expected["X"]
    np.testing.assert_allclose(published.head.predict_proba(X), expected["proba"], rtol=1e-4, atol=1e-6)
    answers = published.answer(X, coverage=0.9)
    assert [answer.label for answer in answers] == expected["labels"].tolist()
    assert [len(answer.prediction_set) for answer in answers] == expected["set_sizes"].tolist()
    adaptive = published.answer(X, coverage=0.97, sets="aps")
    assert [len(answer.prediction_set) for answer in adaptive] == expected["aps_sizes"].tolist()
    np.testing.assert_allclose([answer.outlier_percentile for answer in answers], expected["outlier"], atol=0.05)
