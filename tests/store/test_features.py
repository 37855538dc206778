import numpy as np
import pyarrow as pa
import pytest
from helpers.toystore import DIM, PROBE, make_vectors, toy_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from store import Store
from store.errors import AmbiguousFeatures, BadVectors, FeaturesMismatch, UnknownFeatures, WrongSchema
from store.lance.handles import SMALL_FRAGMENTS
from store.tables.identity import Identity

IDS = [f"id {i}" for i in range(50)]


def test_what_was_put_comes_back_by_id(store: Store) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE)
    X = make_vectors(50)
    assert features.put(IDS[:30], X[:30]) == 30
    assert features.put(IDS[20:], X[20:]) == 20
    assert features.rows == 50
    order = np.random.default_rng(1).permutation(50)
    found, Y = features.get([*(IDS[i] for i in order), "nope"])
    assert found == [IDS[i] for i in order]
    np.testing.assert_array_equal(Y, X[order])
    assert Y.dtype == np.float32
    assert features.get(["nope"])[1].shape == (0, DIM)


def test_a_stored_vector_stays(store: Store) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE)
    X = make_vectors(3)
    assert features.put(["a", "b", "a"], X) == 2
    assert features.put(["a"], X[:1] + 1) == 0
    np.testing.assert_array_equal(features.get(["a"])[1], X[:1])
    assert features.put([], np.empty((0, DIM))) == 0


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 40), max_size=4), batch_rows=st.integers(1, 64))
def test_scan_gives_every_row_once(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batch_rows: int) -> None:
    features = Store.open(tmp_path_factory.mktemp("scan")).ensure_features("toy", toy_spec(), PROBE)
    X = make_vectors(sum(sizes))
    start = 0
    for size in sizes:
        features.put([str(i) for i in range(start, start + size)], X[start : start + size])
        start += size
    seen = {}
    for ids, part in features.scan(batch_rows):
        assert len(ids) == len(part) <= batch_rows
        seen.update(zip(map(int, ids.to_pylist()), part, strict=True))
    assert sorted(seen) == list(range(len(X)))
    for i, row in seen.items():
        np.testing.assert_array_equal(row, X[i])


def test_float16_and_tokens(store: Store) -> None:
    half = store.ensure_features("toy", toy_spec(), PROBE, dtype="float16")
    X = make_vectors(4)
    half.put(IDS[:4], X)
    np.testing.assert_array_equal(half.get(IDS[:4])[1], X.astype(np.float16).astype(np.float32))
    tokens = store.ensure_tokens("toy", toy_spec())
    T = np.random.default_rng(0).standard_normal((4, 3, 4)).astype(np.float16)
    assert tokens.put(IDS[:4], T) == 4
    np.testing.assert_array_equal(tokens.get(IDS[3::-1])[1], T[::-1].astype(np.float32))
    assert store.tokens("toy").rows == 4
    assert [(t.form, t.dtype) for t in store.encoders("tokens")] == [("tokens", "float16")]
    assert [(t.form, t.dtype) for t in store.encoders()] == [("vector", "float16")]


def test_tokens_need_an_encoder_that_gives_them(store: Store) -> None:
    from embedder.spec import EncoderSpec

    plain = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=DIM)
    with pytest.raises(UnknownFeatures):
        store.ensure_tokens("toy", plain)
    with pytest.raises(FeaturesMismatch, match="gives no tokens"):
        store.ensure_tokens("toy", plain, PROBE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, DIM + 1)), r"not \(2, 9\)"),
        (np.zeros((1, DIM)), r"of shape \(2, 8\)"),
        ([[0.0] * DIM, [np.nan] + [0.0] * (DIM - 1)], "not finite as float16: vector of 1 assets, first id 1"),
        (np.full((2, DIM), 70_000.0), "not finite as float16: vector of 2 assets"),
    ],
)
def test_bad_vectors_are_refused_whole(store: Store, values: object, message: str) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE, dtype="float16")
    with pytest.raises(BadVectors, match=message):
        features.put(IDS[:2], np.asarray(values))
    assert features.rows == 0


def test_the_table_knows_its_encoder(store: Store) -> None:
    spec = toy_spec()
    probe = make_vectors(5, seed=3)
    made = store.ensure_features("toy", spec, probe)
    for key in ("toy", spec.fingerprint, spec.fingerprint[:12]):
        found = Store.open(store.uri).features(key)
        assert (found.name, found.spec, found.dtype, found.shape) == ("toy", spec, "float32", (DIM,))
        np.testing.assert_array_equal(found.probe, probe)
    made.put(IDS[:3], make_vectors(3))
    store.optimize()
    np.testing.assert_array_equal(Store.open(store.uri).features("toy").probe, probe)


def test_names_that_mean_nothing_or_several(store: Store) -> None:
    for weights in "ab":
        store.ensure_features("toy", toy_spec(weights), PROBE)
    with pytest.raises(AmbiguousFeatures, match=r"'toy' matches several .*toy \(.*toy \("):
        store.features("toy")
    assert store.features(toy_spec("b").fingerprint).spec == toy_spec("b")
    with pytest.raises(UnknownFeatures, match="stored encoders: toy"):
        store.features(toy_spec("c").fingerprint)
    with pytest.raises(UnknownFeatures):
        store.features("")


def test_ensure_again_agrees_or_refuses(store: Store) -> None:
    probe = make_vectors(3)
    store.ensure_features("toy", toy_spec(), probe)
    again = store.ensure_features("another name", toy_spec(), probe + np.float32(1e-4))
    assert again.name == "toy"
    np.testing.assert_array_equal(again.probe, probe)
    with pytest.raises(FeaturesMismatch, match="cosine"):
        store.ensure_features("toy", toy_spec(), -probe)
    with pytest.raises(FeaturesMismatch, match="cosine nan"):
        store.ensure_features("toy", toy_spec(), probe * 0)
    with pytest.raises(FeaturesMismatch, match="shape"):
        store.ensure_features("toy", toy_spec(), probe[:2])
    with pytest.raises(FeaturesMismatch, match="stores 'toy' as float32, not float16"):
        store.ensure_features("toy", toy_spec(), probe, dtype="float16")


def test_tables_of_another_layout_are_refused() -> None:
    identity = Identity("vector", "toy", toy_spec(), "float32", PROBE)
    schema = identity.schema()
    record = (schema.metadata or {})[b"headwater"]
    for changed, message in [
        (record.replace(b'"format": 1', b'"format": 2'), "layout 2"),
        (record.replace(toy_spec().fingerprint.encode(), b"f" * 64), "is not that of its spec"),
        (b"{}", "does not say which encoder"),
        (b"no json", "does not say which encoder"),
    ]:
        other = pa.schema(list(schema), {b"headwater": changed})
        with pytest.raises(WrongSchema, match=message):
            Identity.of(identity.table, other)


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_search_agrees_with_brute_force(store: Store, metric: str) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE)
    X = make_vectors(50)
    features.put(IDS, X)
    query = make_vectors(1, seed=9)[0]
    hits = features.search(query, 5, metric)  # type: ignore[arg-type]  # one of the three
    if metric == "dot":
        order = np.argsort(-(X @ query))[:5]
        scores = (X @ query)[order]
    else:
        name = {"cosine": "cosine", "l2": "sqeuclidean"}[metric]
        distances, (order,) = NearestNeighbors(n_neighbors=5, metric=name, algorithm="brute").fit(X).kneighbors([query])
        scores = 1 - distances[0] if metric == "cosine" else -distances[0]
    assert [id_ for id_, _ in hits] == [IDS[i] for i in order]
    np.testing.assert_allclose([score for _, score in hits], scores, rtol=1e-4, atol=1e-5)


def test_search_at_the_edges(store: Store) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE)
    assert features.search(np.ones(DIM)) == []
    features.put(IDS[:2], make_vectors(2))
    assert len(features.search(np.ones(DIM), 10)) == 2
    assert features.search(np.ones(DIM), 0) == []
    with pytest.raises(BadVectors, match="one finite vector"):
        features.search(np.ones(DIM + 1))
    with pytest.raises(BadVectors, match="one finite vector"):
        features.search(np.full(DIM, np.nan))


def test_a_few_small_fragments_are_no_reason_to_write_a_table_anew(store: Store) -> None:
    features = store.ensure_features("toy", toy_spec(), PROBE)
    for i in range(SMALL_FRAGMENTS):
        assert features.table.version() == 1 + i  # what the loop before has put, and nothing else
        features.put([f"{i}"], make_vectors(1))
        if i < SMALL_FRAGMENTS - 1:
            store.optimize()
    store.optimize()
    stats = features.table._handle().stats()["fragment_stats"]
    assert (stats["num_fragments"], features.rows) == (1, SMALL_FRAGMENTS)
