"""Condensers are compared with loops and geometry, saved in folders, and applied after a real encoder."""

import hashlib

import numpy as np
import pytest
from helpers.pictures import photo
from safetensors.numpy import save

from embedder import registry
from embedder.derived.adapter import Adapter
from embedder.derived.condenser import Condenser, pool
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter, split_name
from embedder.encoders.lite.configs import CONFIGS
from embedder.errors import ExportFailed, WeightsError
from embedder.media.image import decode

PARENT = CONFIGS["lite0"].spec


def arrays(size: int = 1, components: int | None = None, width: int = 1280, seed: int = 0) -> dict[str, np.ndarray]:
    """Return a condenser with `components` orthonormal axes."""
    made = {"pool": np.array([size], np.float32)}
    if components:
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.normal(size=(width, components)))[0].T
        made |= {"mean": rng.normal(size=width).astype(np.float32), "components": axes.astype(np.float32)}
    return made


def stored(**changes: int) -> StoredAdapter:
    return StoredAdapter("lite0", PARENT.fingerprint, Condenser(arrays(**changes)), {"images": 3})


def tokens(n: int, count: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, count, width)).astype(np.float16)


@pytest.mark.parametrize(("side", "size", "left"), [(7, 2, 4), (4, 2, 2), (7, 3, 3), (5, 9, 1), (3, 1, 3)])
def test_pooling_is_the_mean_of_the_neighbours_there_are(side, size, left):
    given = tokens(2, side * side, 3).astype(np.float32)
    grid, found = given.reshape(2, side, side, 3), pool(given, size).reshape(2, left, left, 3)
    for row in range(left):
        for column in range(left):
            part = grid[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            assert found[:, row, column] == pytest.approx(part.mean(axis=(1, 2)), abs=1e-6)


def test_it_pools_and_then_projects():
    made = arrays(size=2, components=3, width=5)
    given = tokens(4, 9, 5)
    wanted = (pool(given.astype(np.float32), 2).astype(np.float64) - made["mean"]) @ made["components"].T
    found = Condenser(made)(given)
    assert (found.dtype, found.shape) == (np.float16, (4, 4, 3))
    assert found.astype(np.float64) == pytest.approx(wanted, abs=4e-3)
    assert Condenser(made)(given[:0]).shape == (0, 4, 3)


def test_all_components_keep_every_distance():
    given = tokens(1, 16, 6)
    found = Condenser(arrays(components=6, width=6))(given).astype(np.float64)

    def distances(points):
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    assert distances(found[0]) == pytest.approx(distances(given[0].astype(np.float64)), abs=0.01)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pool": np.array([1.5], np.float32)}, r"whole number of at least 1, not \[1.5\]"),
        ({"pool": np.array([0], np.float32)}, "at least 1"),
        ({"pool": np.array([np.nan], np.float32)}, "at least 1"),
        ({"weight": np.zeros(3, np.float32)}, "'pool', and 'mean' and 'components' or neither"),
        ({"mean": np.zeros(4, np.float32)}, r"not \(4,\), \(2, 5\)"),
        ({"mean": np.full(5, np.nan, np.float32)}, "finite"),
        ({"components": np.zeros((2, 5))}, "float64"),
    ],
)
def test_arrays_that_make_no_condenser_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        Condenser(arrays(components=2, width=5) | change)


def test_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="50 tokens are not a square map"):
        Condenser(arrays(size=2))(tokens(1, 50, 5))
    with pytest.raises(ValueError, match="takes tokens of width 5, not 6"):
        Condenser(arrays(components=2, width=5))(tokens(1, 4, 6))
    with pytest.raises(ValueError, match=r"\(n, P, F\) are needed, not \(4, 5\)"):
        Condenser(arrays())(np.ones((4, 5)))


def test_its_folder_gives_it_back_and_its_spec_differs_in_the_tokens_alone(tmp_path):
    made = stored(size=2, components=8)
    found = StoredAdapter.load(made.save(tmp_path))
    assert (found.name, found.folder) == (f"lite0+tokens-{made.version}", f"tokens-{made.version}")
    assert split_name(found.name) == ("lite0", found.folder)
    given = tokens(2, 49, 1280)
    assert found.adapter(given).tobytes() == made.adapter(given).tobytes()
    spec = found.spec(PARENT)
    assert (spec.tokens, spec.dim, spec.text, spec.parent) == ((16, 8), 1280, PARENT.text, PARENT.fingerprint)
    others = [stored(size=2, components=8, seed=1), stored(components=8), stored(size=2)]
    assert len({made.version, *(other.version for other in others)}) == 4
    with pytest.raises(WeightsError, match="it was renamed"):
        StoredAdapter.load((tmp_path / found.folder).rename(tmp_path / "tokens-0123456789ab"))


def test_a_condenser_of_before_kinds_had_numbers_of_their_own_is_the_same(tmp_path):
    """Digest and version are pinned; the manifest is the first one, letter by letter."""
    few = Condenser(
        {
            "pool": np.array([2], np.float32),
            "mean": np.arange(3, dtype=np.float32),
            "components": np.eye(2, 3, dtype=np.float32),
        }
    )
    assert few.digest == "4b542ebf2723073f7211cf46300fbd40dd4a40d15b3a26bd7a612e6b930eba81"
    folder = tmp_path / "tokens-0c036d5b4fc7"
    folder.mkdir()
    data = save(dict(few.arrays))
    (folder / "adapter.safetensors").write_bytes(data)
    (folder / "manifest.json").write_text(
        f"""{{
  "format": 1,
  "kind": "tokens",
  "parent": "lite0",
  "fingerprint": "{"f" * 64}",
  "record": {{}},
  "sha256": "{hashlib.sha256(data).hexdigest()}"
}}"""
    )
    assert StoredAdapter.load(folder).adapter.digest == few.digest
    assert StoredAdapter("lite0", "f" * 64, few).save(tmp_path) == folder


def test_each_kind_checks_its_own_number(tmp_path, monkeypatch):
    """A new format of condensers makes old ones unreadable, says so, and leaves adapters as they are."""
    condensed = stored(size=2).save(tmp_path)
    weights = {"mean": np.zeros(3, np.float32), "weight": np.eye(2, 3, dtype=np.float32)}
    adapted = StoredAdapter("lite0", "f" * 64, Adapter(weights)).save(tmp_path)
    monkeypatch.setattr(Condenser, "format", 2)
    with pytest.raises(WeightsError, match="tokens of format 1, this version reads 2: upgrade headwater"):
        StoredAdapter.load(condensed)
    assert StoredAdapter.load(adapted).folder == adapted.name
    newer = stored(size=2).save(tmp_path)
    assert newer != condensed
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="tokens of format 2, this version reads 1: upgrade headwater"):
        StoredAdapter.load(newer)


def test_a_condensed_encoder_is_its_parent_with_other_tokens(tmp_path, cache_dir):
    made = stored(size=2, components=8)
    made.save(tmp_path)
    parent = registry.load("lite0", cache_dir=cache_dir)
    encoder = registry.load(made.name, cache_dir=cache_dir, adapters=tmp_path)
    assert made.name in registry.names(tmp_path)
    inputs = np.stack([encoder.prepare(decode(photo(seed)).image) for seed in range(3)])
    ours, theirs = encoder.embed(inputs, tokens=True), parent.embed(inputs, tokens=True)
    assert ours.vectors.tobytes() == theirs.vectors.tobytes()
    assert ours.tokens.tobytes() == made.adapter(theirs.tokens).tobytes()
    assert encoder.embed(inputs).tokens is None
    assert encoder.embed_texts(["a cat"]).tobytes() == parent.embed_texts(["a cat"]).tobytes()
    assert encoder.reference_probe().tobytes() == parent.reference_probe().tobytes()
    with pytest.raises(ExportFailed, match="export the parent"):
        encoder.networks()


def test_a_parent_without_tokens_is_refused():
    parent = registry.load("melstat")
    with pytest.raises(WeightsError, match="gives no tokens"):
        DerivedEncoder(parent, StoredAdapter("melstat", parent.spec.fingerprint, Condenser(arrays(size=2))))
