"""Adapters in their folders, and derived encoders: identity, refusals, equal numbers by every route."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.paced import Paced
from helpers.pictures import photo
from safetensors.numpy import load_file

from embedder import probe, registry
from embedder.derived.adapter import Adapter
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter, split_name, stored_names
from embedder.encoder import Pace, pace_of
from embedder.encoders.lite.configs import CONFIGS
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder
from embedder.errors import UnknownEncoder, WeightsError
from embedder.media.image import decode

PARENT = CONFIGS["lite0"].spec


def arrays(dim: int = 1280, out: int = 6, hidden: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"mean": (dim,), "weight": (out, dim)}
    if hidden:
        shapes |= {"hidden_weight": (hidden, dim), "hidden_bias": (hidden,), "hidden_out": (out, hidden)}
    return {name: rng.normal(size=shape, scale=0.1).astype(np.float32) for name, shape in shapes.items()}


def stored(**changes: int) -> StoredAdapter:
    return StoredAdapter("lite0", PARENT.fingerprint, Adapter(arrays(**changes)), {"rows": 3})


@pytest.fixture(scope="module")
def lite0(cache_dir):
    return registry.load("lite0", cache_dir=cache_dir)


@pytest.mark.parametrize("hidden", [0, 5])
def test_it_computes_its_formula(hidden):
    a = {name: array.astype(np.float64) for name, array in arrays(dim=7, hidden=hidden).items()}
    X = np.random.default_rng(1).normal(size=(9, 7)) * 10
    for x, found in zip(X, Adapter(arrays(dim=7, hidden=hidden))(X), strict=True):
        z = x / np.linalg.norm(x) - a["mean"]
        z /= np.linalg.norm(z)
        y = a["weight"] @ z
        if hidden:
            y += a["hidden_out"] @ np.maximum(a["hidden_weight"] @ z + a["hidden_bias"], 0)
        assert found == pytest.approx(y / np.linalg.norm(y), abs=1e-5)


def test_no_rows_and_rows_of_zeros_are_taken_and_another_width_is_not():
    adapter = Adapter(arrays(dim=7))
    assert adapter(np.empty((0, 7))).shape == (0, 6)
    assert np.isfinite(adapter(np.zeros((1, 7)))).all()
    with pytest.raises(ValueError, match=r"shape \(n, 7\), not \(2, 8\)"):
        adapter(np.ones((2, 8)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bias": np.zeros(6, np.float32)}, "has the arrays"),
        ({"mean": np.zeros(6, np.float32)}, "'mean' is float32"),
        ({"mean": np.zeros(7)}, "float64"),
        ({"weight": np.full((6, 7), np.nan, np.float32)}, "NaN"),
        ({"weight": np.zeros(7, np.float32)}, "two dimensions"),
    ],
)
def test_arrays_that_make_no_adapter_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        Adapter(arrays(dim=7) | change)


def test_its_folder_gives_it_back(tmp_path):
    made = stored(hidden=3)
    path = made.save(tmp_path, {"report.md": b"text"})
    assert sorted(file.name for file in path.iterdir()) == ["adapter.safetensors", "manifest.json", "report.md"]
    found = StoredAdapter.load(path)
    assert (found.name, found.version, dict(found.record)) == (made.name, made.version, {"rows": 3})
    X = np.random.default_rng(0).normal(size=(4, 1280))
    assert found.adapter(X).tobytes() == made.adapter(X).tobytes()
    assert made.save(tmp_path) == path
    assert stored_names(tmp_path) == [made.name]
    assert load_file(path / "adapter.safetensors").keys() == arrays(hidden=3).keys()


def test_its_identity_is_that_of_arrays_and_parent():
    made = stored()
    assert made.version == stored().version
    others = [stored(seed=1), stored(hidden=2), StoredAdapter("lite0", "f" * 64, Adapter(arrays()))]
    assert len({made.version, *(other.version for other in others)}) == 4
    spec, twin = made.spec(PARENT), stored(seed=1).spec(PARENT)
    assert (spec.dim, spec.text, spec.tokens) == (6, None, None)
    assert spec.parent == PARENT.fingerprint
    assert len({spec.fingerprint, twin.fingerprint, PARENT.fingerprint}) == 3
    assert type(spec).from_json(spec.canonical_json()) == spec
    with pytest.raises(WeightsError, match="restore that encoder's weights"):
        others[2].spec(PARENT)


def test_an_adapter_of_before_there_were_condensers_is_the_same(tmp_path):
    """Digest and version are pinned; the manifest has no "kind", like those of the first adapters."""
    few = Adapter({"mean": np.arange(3, dtype=np.float32), "weight": np.eye(2, 3, dtype=np.float32)})
    made = StoredAdapter("lite0", "f" * 64, few)
    assert few.digest == "94cb6e223bc41062da8d1518d5bbb7cd5bd6d045664d58d935c4eb45812fcf5e"
    assert made.folder == "mlcd-fe1a1f4bd116"
    path = made.save(tmp_path)
    manifest = json.loads((path / "manifest.json").read_bytes())
    assert manifest.pop("kind") == "mlcd"
    assert manifest.pop("kind_format") == 1
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert StoredAdapter.load(path).adapter.digest == few.digest


def damage_arrays(path):
    file = path / "adapter.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def swap_arrays(path):
    """Store valid arrays with a matching digest that are not the arrays of this version."""
    other = stored(seed=9).save(path.parent)
    for name in ("adapter.safetensors", "manifest.json"):
        (path / name).write_bytes((other / name).read_bytes())


def future_format(path):
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))


def future_format_of_the_kind(path):
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest | {"kind_format": 2}))


def future_kind(path):
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(manifest | {"kind": "rotation"}))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (future_format_of_the_kind, "mlcd of format 2, this version reads 1: upgrade headwater"),
        (future_kind, "kind 'rotation', this version reads mlcd, tokens: upgrade headwater"),
        (damage_arrays, "not the file that manifest.json describes"),
        (swap_arrays, "it was renamed"),
        (future_format, "upgrade headwater"),
        (lambda path: (path / "adapter.safetensors").unlink(), "No such file"),
        (lambda path: (path / "manifest.json").write_text("{"), "cannot be used"),
    ],
)
def test_a_tampered_adapter_is_refused_and_can_be_saved_anew(tmp_path, harm, reason):
    made = stored()
    path = made.save(tmp_path)
    harm(path)
    with pytest.raises(WeightsError, match=reason):
        registry.load(made.name, adapters=tmp_path)
    assert made.name not in stored_names(tmp_path)
    made.save(tmp_path)
    assert StoredAdapter.load(path).version == made.version


@pytest.mark.parametrize("adapters", [True, False])
def test_a_missing_adapter_says_where_it_was_looked_for(tmp_path, adapters):
    have = stored().save(tmp_path)
    with pytest.raises(WeightsError, match="name the folder that has mlcd-0123456789ab") as caught:
        registry.load("lite0+mlcd-0123456789ab", adapters=tmp_path if adapters else None)
    assert (have.name in str(caught.value)) is adapters


def test_names():
    assert split_name("lite0+mlcd-0123456789ab") == ("lite0", "mlcd-0123456789ab")
    assert split_name("openclip/a@/b+c.pt+mlcd-0123456789ab") == ("openclip/a@/b+c.pt", "mlcd-0123456789ab")
    assert split_name("a+mlcd-0123456789ab+mlcd-ba9876543210") == ("a+mlcd-0123456789ab", "mlcd-ba9876543210")
    assert split_name("lite0+mlcd-short") is None
    with pytest.raises(UnknownEncoder):
        registry.load("nobody+mlcd-short")


def test_a_derived_encoder_is_its_parent_then_the_adapter(tmp_path, lite0, cache_dir):
    made = stored()
    made.save(tmp_path)
    encoder = registry.load(made.name, cache_dir=cache_dir, adapters=tmp_path)
    pixels = np.stack([encoder.prepare(decode(photo(seed)).image) for seed in range(3)])
    assert encoder.embed(pixels).vectors == pytest.approx(made.adapter(lite0.embed(pixels).vectors), abs=1e-5)
    assert encoder.name == made.name
    assert encoder.spec.fingerprint == made.spec(PARENT).fingerprint
    with pytest.raises(ValueError, match="no tokens"):
        encoder.embed(pixels, tokens=True)
    with pytest.raises(ValueError, match="use its parent lite0"):
        encoder.embed_texts(["a dog"])


def test_it_has_the_pace_of_its_parent(lite0, tmp_path):
    fast = GraphEncoder("lite0", lite0.blueprint, Paced(Pace(256, 2)), Cache(tmp_path))
    assert pace_of(DerivedEncoder(fast, stored()), "image") == Pace(256, 2)


def test_its_probe_is_checked_like_any_other(tmp_path, lite0):
    encoder = DerivedEncoder(lite0, stored())
    reference = encoder.reference_probe()
    assert reference.shape == (5, 6)
    assert probe.check(encoder, reference) > 0.999
    with pytest.raises(probe.ProbeMismatch):
        probe.check(DerivedEncoder(lite0, stored(seed=1)), reference)


def test_reading_adapters_takes_no_torch():
    code = "import sys; from embedder.derived import adapter, encoders; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
