"""Damaged numbers in a head are found when it is loaded, for every kind of head; hostile files are refused."""

import hashlib
import json
import os
import random
import shutil
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.toys import detector_of, record_of
from safetensors.numpy import load_file, save

from classifiers.errors import BadArtifact, VectorsOverflow
from classifiers.heads import LinearHead
from classifiers.heads.fusion.head import FusionHead
from classifiers.published import artifact, probe
from classifiers.published.artifact import load
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import EncoderBlock, Manifest


@pytest.fixture
def folder(head, toy, outliers, tmp_path):
    quantiles, files = outliers
    return artifact.save(
        tmp_path / "toy", head, record_of(head, toy, outlier=quantiles), {"report.json": b"{}", **files}
    )


def signed(folder, **changes):
    """Return the folder with other manifest fields, renamed to its digest, as someone would who wants it loaded."""
    path = folder / "manifest.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(raw))
    try:
        digest = Manifest.model_validate(raw).digest()
    except ValueError:
        return folder
    return folder.rename(folder.with_name(folder.name[:-12] + digest))


def with_file(folder, name, data):
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    return signed(folder, files={**files, name: hashlib.sha256(data).hexdigest()})


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_a_damaged_number_in_any_array_is_refused(folder, tmp_path, value):
    for file in ("head.safetensors", "outlier.safetensors"):
        for name, array in load_file(folder / file).items():
            if array.dtype.kind != "f" or not array.size:
                continue
            damaged = load_file(folder / file)
            damaged[name].flat[array.size // 2] = value
            copy = Path(shutil.copytree(folder, tmp_path / f"{file} {name}" / folder.name))
            with pytest.raises(BadArtifact, match=f"array '{name}' holds NaN, infinity or a value beyond"):
                load(with_file(copy, file, save(damaged)))


@pytest.mark.parametrize(
    ("W", "b"),
    [
        (np.full((2, 4), -np.inf), np.zeros(2)),  # 0 · -inf is NaN
        (np.zeros((2, 4)), np.full(2, -np.inf)),  # every class is impossible
        (np.full((2, 4), 1e30), np.array([-1e30, 1e30])),
    ],
)
def test_arrays_that_are_ordinary_alone_but_give_no_probabilities(tmp_path, toy, head, W, b):
    made = LinearHead("ab", W.astype("f4"), b.astype("f4"), temperature=1e-6)
    encoders = (EncoderBlock(name="toy", fingerprint="a" * 64, columns=(0, 4)),)
    folder = artifact.save(tmp_path, made, record_of(head, toy, encoders=encoders, counts=(1, 2)))
    with pytest.raises(BadArtifact, match=r"no probabilities|overflow"):
        load(folder)


def test_a_head_that_takes_too_long_is_refused(folder, monkeypatch):
    monkeypatch.setattr(probe, "MOST_SECONDS", 0.0)
    with pytest.raises(BadArtifact, match=r"takes .* s for 3 rows"):
        load(folder)


def test_all_parts_of_fused_heads_are_probed(fused, hard, tmp_path):
    """A fused head answers from some encoders too, so a part of it that gives no numbers is found at load."""
    head = fused.head_
    edges = head.blocks.edges
    encoders = tuple(
        EncoderBlock(name=f"e{i}", fingerprint=f"{i}" * 64, columns=(low, high))
        for i, (low, high) in enumerate(pairwise(edges))
    )
    folder = artifact.save(tmp_path / "fused", head, record_of(head, hard, encoders=encoders))
    published = load(folder)
    assert isinstance(published.head, FusionHead)
    arrays = head.arrays()
    last = f"member{len(head.members) - 1}."
    of_last = {name: array for name, array in arrays.items() if name.startswith(last) and array.dtype.kind == "f"}
    damaged = arrays | {name: np.full_like(array, -np.inf) for name, array in of_last.items()}
    with pytest.raises(BadArtifact):
        load(with_file(folder, "head.safetensors", save(damaged)))


def test_parts_that_do_not_fit_the_encoders_are_refused(fused, hard, tmp_path):
    head = fused.head_
    ends = (0, 1, 2, head.dim)
    encoders = tuple(
        EncoderBlock(name=f"e{i}", fingerprint=f"{i}" * 64, columns=(low, high))
        for i, (low, high) in enumerate(pairwise(ends))
    )
    with pytest.raises(BadArtifact, match="a part of the head reads"):
        load(artifact.save(tmp_path / "fused", head, record_of(head, hard, encoders=encoders)))


def in_time(call):
    found = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(20)
    assert found, "the reader waits"
    return found[0]


KINDS = {
    "folder": os.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "head.safetensors", "outlier.safetensors", "report.json"])
def test_a_file_of_a_hostile_kind_is_refused_at_once(published_linear, kind, name):
    path = published_linear / name
    path.unlink()
    kind(path)

    def refusal():
        with pytest.raises(BadArtifact, match=name.replace(".", r"\.")) as refused:
            load(published_linear)
        return refused.value.reason

    assert "not a regular file" in (reason := in_time(refusal)) or "at most" in reason


@pytest.fixture
def published_linear(toy, outliers, tmp_path):
    K = len(toy.classes)
    made = LinearHead(toy.classes, np.eye(K, toy.X.shape[1], dtype="f4"), np.zeros(K, "f4"))
    quantiles, files = outliers
    record = record_of(made, toy, outlier=quantiles)
    return artifact.save(tmp_path / "linear", made, record, {"report.json": b"{}", **files})


def test_a_header_of_100_megabytes_is_not_parsed(published_linear):
    data = (10**8).to_bytes(8, "little") + b"{" + b" " * 10**6
    with pytest.raises(BadArtifact, match=r"at most|header is larger"):
        load(with_file(published_linear, "head.safetensors", data))
    small = (2**20 + 1).to_bytes(8, "little") + b"{}"
    with pytest.raises(BadArtifact):
        load(with_file(next(published_linear.parent.iterdir()), "head.safetensors", small))


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": ["a", "\ud800", "c", "d", "e"]},
        {"classes": ["a" * 10**6, "b", "c", "d", "e"]},
        {"classes": []},
        {"task": "t" * 10**6},
        {"kind": "k" * 10**6},
        {"x" * 10**6: 1},
        {"protocol": 10**4000},
        {"settings": {"transform": {"dim": 10**400}}},
        {"arrays": {"W": {"shape": [2**40, 2**40], "dtype": "float32"}}},
        {"arrays": {"W": {"shape": [-1], "dtype": "float32"}}},
        {"arrays": {"W": {"shape": [1], "dtype": "V999999999"}}},
        {"encoders": [{"name": "toy", "fingerprint": "a" * 64, "columns": [0, 10**12]}]},
        {"files": {f"f{i}.json": "0" * 64 for i in range(1000)}},
        {"outlier": [1e400]},
        {"parameters": {"deep": json.loads("[" * 100 + "]" * 100)}},
    ],
)
def test_a_hostile_manifest_is_refused_in_a_short_sentence(published_linear, changes):
    with pytest.raises(BadArtifact) as refused:
        load(signed(published_linear, **changes))
    assert len(refused.value.reason) <= BadArtifact.LONGEST
    str(refused.value).encode()


NUMBERS = (True, 0, -1, 1, 2, 3, 12, 10**9, 10**30, 1e-300, 1e300)
VALUES = (None, *NUMBERS, "", "x", "tied", [], [0], [0, 12], [12, 0], {}, {"a": 1})


def mutated(value, rng):
    """Return a JSON value with one random place replaced, removed or doubled."""
    if rng.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return rng.choice(VALUES)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        fresh = rng.choice(([], [value[at], value[at]], [mutated(value[at], rng)], [mutated(value[at], rng)]))
        return [*value[:at], *fresh, *value[at + 1 :]]
    key = rng.choice(sorted(value))
    return {k: mutated(v, rng) if k == key else v for k, v in value.items() if k != key or rng.random() < 0.9}


def test_any_change_of_the_settings_is_read_or_refused(folder):
    """Any exception other than BadArtifact would stop a service from starting."""
    raw, rng, refused = json.loads((folder / "manifest.json").read_text()), random.Random(0), 0
    for _ in range(60):
        part = rng.choice(
            ("settings", "settings", "settings", "arrays", "encoders", "outlier", "conformal", "temperature")
        )
        folder = signed(folder, **{**raw, part: mutated(raw[part], rng)})
        try:
            load(folder)
        except BadArtifact:
            refused += 1
    assert refused


def test_a_decoder_for_more_tokens_than_memory_holds_is_refused(learned):
    """The number of tokens is in the settings alone, so a small file can ask for any amount of memory."""
    head = learned("decoder").head_
    arrays, meta = head.arrays(), head.meta()
    with pytest.raises(ValueError, match="floats, at most"):
        type(head).from_arrays(arrays, {**meta, "settings": {**meta["settings"], "tokens": [10**9, head.tokens[1]]}})


@pytest.mark.parametrize("scale", [1e38, -1e38])
def test_vectors_that_overflow_are_named_and_never_answered_with_nan(head, toy, outliers, scale):
    """Heads that set vectors to unit norm first answer; all others name the rows."""
    record = record_of(head, toy, outlier=outliers[0])
    published = PublishedHead("toy", "v", head, artifact.pack(head, record, {})[0], detector_of(toy))
    X = toy.X[:4].astype("f4").copy()
    X[1], X[3] = np.sign(X[1]) * scale, scale
    overflowing = overflowing_rows(published, X)
    assert overflowing <= {1, 3}
    for answer in published.answer(X[[i for i in range(4) if i not in overflowing]]):
        assert np.isfinite([probability for _, probability in answer.top_k]).all()
        assert 0 <= answer.outlier_percentile <= 100


def overflowing_rows(published, X):
    try:
        published.answer(X)
    except VectorsOverflow as error:
        return set(error.rows)
    return set()
