import hashlib
from collections import Counter
from collections.abc import Callable
from subprocess import Popen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import SPLITS, asset_id, split_of
from store.errors import BadSplit


def test_asset_id_is_sha256_of_the_bytes() -> None:
    assert asset_id(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert asset_id(b"abc") == hashlib.new("sha256", b"abc").hexdigest()


@given(st.text(), st.integers(0, 5))
def test_split_depends_on_id_and_seed_alone(id_: str, seed: int) -> None:
    assert split_of(id_, seed=seed) == split_of(id_, seed=seed)
    assert split_of(id_, seed=seed) in SPLITS[:3]


def test_splits_come_in_the_proportions_asked() -> None:
    counts = Counter(split_of(asset_id(str(i).encode()), (0.5, 0.2, 0.3)) for i in range(20_000))
    # Four standard deviations of a binomial with 20,000 draws are at most 283.
    assert abs(counts["train"] - 10_000) < 283
    assert abs(counts["val"] - 4_000) < 283
    assert abs(counts["test"] - 6_000) < 283


def test_split_fractions_of_nothing_or_all() -> None:
    assert {split_of(str(i), (1, 0, 0)) for i in range(100)} == {"train"}
    assert {split_of(str(i), (0, 0, 1)) for i in range(100)} == {"test"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_split_fractions_must_make_sense(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(BadSplit, match="sum to 1"):
        split_of("a", fractions)


def test_importing_the_store_does_not_import_lancedb(start_python: Callable[..., "Popen[str]"]) -> None:
    code = "import sys, store, store.interchange; print([m for m in sys.modules if m in ('lancedb', 'lance', 'torch')])"
    out, _ = start_python(code).communicate()
    assert out.strip() == "[]"
