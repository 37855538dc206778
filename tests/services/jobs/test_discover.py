"""Clusters and adapters on real stores: the rows learned from, the rows written, and runs after a killed one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from classifiers.clustering.clusters import Clustering
from classifiers.clustering.unlabelled import Unlabelled
from classifiers.errors import BadClustering, NotTrainable
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.published.manifest import ids_digest
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Embedding
from embedder.spec import EncoderSpec, ImagePreprocessing
from services.jobs.adapt import AdaptRequest, adapt
from services.jobs.backfill.local import backfill
from services.jobs.cluster import ClusterRequest, cluster
from services.jobs.progress import Step, ignore
from store import Asset, Label, Store, asset_id
from store.errors import UnknownTask

DIM, GROUPS, N = 12, 4, 240
HALF = (0.5, 0.5, 0.5)
IMAGE = ImagePreprocessing(size=4, resize=4, interpolation="bicubic", mean=HALF, std=HALF)
SPEC = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=DIM, image=IMAGE)
PROBE = np.eye(5, DIM, dtype=np.float32) + 1
WANTED = ClusterRequest(encoder="toy", task="found", clusters=10, nearest=3)
RECIPE = Recipe(nearest=2, dim=6, epochs=4)


@pytest.fixture
def store(tmp_path) -> Store:
    """240 assets of 4 far groups with vectors; all but the last 40 labelled in the task `group`."""
    opened = Store.open(tmp_path / "db")
    rng = np.random.default_rng(0)
    codes = rng.integers(GROUPS, size=N)
    X = rng.normal(size=(GROUPS, DIM))[codes] + 0.2 * rng.normal(size=(N, DIM)) + 1
    contents = [f"image {i}".encode() for i in range(N)]
    ids = [asset_id(data) for data in contents]
    opened.assets.add(
        Asset(id=id_, uri=f"mem/{i}", modality="image", media_type="image/png", content=data)
        for i, (id_, data) in enumerate(zip(ids, contents, strict=True))
    )
    opened.ensure_features("toy", SPEC, PROBE).put(ids, X.astype(np.float32))
    splits = ["train"] * 120 + ["val"] * 30 + ["test"] * 40 + ["ood"] * 10
    opened.labels.put(
        "group", (Label(id_, [f"g{c}"], split) for id_, c, split in zip(ids, codes, splits, strict=False))
    )
    return opened


def labels_of(store: Store, task: str = "found") -> dict[str, tuple[list[str], str]]:
    return {row["id"]: (row["labels"], row["split"]) for row in store.labels.get(task).to_pylist()}


def test_every_vector_gets_its_nearest_centres(store, tmp_path):
    done = cluster(store, tmp_path / "clusters", WANTED)
    made = Clustering.load(tmp_path / "clusters", "found")
    ids, X = store.features("toy").get(strings(store))
    codes, _ = made.assign(X, 3)
    found = labels_of(store)
    assert {id_: labels for id_, (labels, _) in found.items()} == {
        id_: [f"c{code:04}" for code in row] for id_, row in zip(ids, codes.tolist(), strict=True)
    }
    assert done.browsing.sizes.tolist() == np.bincount(codes[:, 0], minlength=len(made)).tolist()
    assert done.browsing.sizes.min() > 0


def strings(store: Store) -> list[str]:
    return store.features("toy").ids().to_pylist()


def test_what_a_task_holds_out_is_not_learned_from(store, tmp_path):
    cluster(store, tmp_path / "clusters", WANTED)
    known = store.labels.get("group")
    spared = set(known.filter(pc.not_equal(known["split"], "train"))["id"].to_pylist())
    learned = sorted(set(strings(store)) - spared)
    assert len(learned) == 160
    assert Clustering.load(tmp_path / "clusters", "found").record["ids"] == ids_digest(learned)
    assert {split for id_, (_, split) in labels_of(store).items() if id_ in spared} == {"test"}
    assert {split for id_, (_, split) in labels_of(store).items() if id_ not in spared} == {"train"}
    again = Unlabelled(store, store.features("toy"), store.snapshot())
    assert again.ids == learned  # pseudo-labels of the split test spare nothing


def test_only_the_rows_of_a_task(store, tmp_path):
    done = cluster(store, tmp_path / "clusters", replace(WANTED, rows_of="group"))
    assert set(labels_of(store)) == set(store.labels.get("group")["id"].to_pylist())
    assert done.browsing.record["rows"] == 120
    with pytest.raises(UnknownTask):
        cluster(store, tmp_path / "clusters", replace(WANTED, rows_of="nothing"))


def test_only_centres_that_are_nearly_as_near(store, tmp_path):
    cluster(store, tmp_path / "clusters", replace(WANTED, delta=0.02))
    made = Clustering.load(tmp_path / "clusters", "found")
    ids, X = store.features("toy").get(strings(store))
    codes, cosines = made.assign(X, 3)
    wanted = {
        id_: [f"c{code:04}" for code, cosine in zip(row, near, strict=True) if cosine >= near[0] - np.float32(0.02)]
        for id_, row, near in zip(ids, codes.tolist(), cosines, strict=True)
    }
    assert {id_: labels for id_, (labels, _) in labels_of(store).items()} == wanted
    assert {len(labels) for labels in wanted.values()} >= {1, 2}


def test_the_report_shows_sizes_assets_and_agreement(store, tmp_path):
    done = cluster(store, tmp_path / "clusters", replace(WANTED, against="group"))
    report = json.loads((done.path / "report.json").read_text())
    assert report["summary"]["purity"] > 0.95
    assert report["summary"]["labelled_rows"] == 150  # train and val: neither test nor ood
    assert sum(each["size"] for each in report["clusters"]) == N
    first = report["clusters"][0]
    assert first["nearest"][0]["uri"].startswith("mem/")
    assert first["majority"].startswith("g")
    cosines = [asset["cosine"] for asset in first["nearest"]]
    assert cosines == sorted(cosines, reverse=True)
    text = (done.path / "report.md").read_text()
    assert "cosine between centres of one row" in text
    assert "80 of 240 rows, which are in val, test or ood" in text


def test_a_name_that_is_taken_is_left_alone(store, tmp_path):
    before = labels_of(store, "group")
    with pytest.raises(BadClustering, match="taken by a task of your own"):
        cluster(store, tmp_path / "clusters", replace(WANTED, task="group"))
    assert labels_of(store, "group") == before
    cluster(store, tmp_path / "clusters", WANTED)
    store.ensure_features("other", replace(SPEC, weights="x"), PROBE).put(strings(store)[:50], np.eye(50, DIM) + 1)
    with pytest.raises(BadClustering, match="of another encoder"):
        cluster(store, tmp_path / "clusters", replace(WANTED, encoder="other", clusters=4))


def test_too_few_rows_are_an_error(store, tmp_path):
    with pytest.raises(NotTrainable, match="500 clusters are more than the 160 training rows"):
        cluster(store, tmp_path / "clusters", replace(WANTED, clusters=500))
    store.labels.put("group", (Label(id_, ["g0"], "test") for id_ in strings(store)), move_splits=True)
    with pytest.raises(NotTrainable, match="0 of 240 stored vectors"):
        cluster(store, tmp_path / "clusters", WANTED)


def few(folder: Path) -> Store:
    """A store of ten rows, for which the defaults find at most five clusters."""
    opened, rng = Store.open(folder / "few"), np.random.default_rng(0)
    ids = [asset_id(bytes([i])) for i in range(10)]
    opened.ensure_features("toy", SPEC, PROBE).put(ids, rng.normal(size=(10, DIM)).astype(np.float32))
    return opened


def test_the_defaults_of_cluster_suit_ten_rows(tmp_path):
    store = few(tmp_path)
    done = cluster(store, tmp_path / "clusters", ClusterRequest(encoder="toy", task="found"))
    found = len(done.browsing.labels)
    assert 2 <= found <= 5
    assert {len(labels) for labels, _ in labels_of(store).values()} == {found}
    note = f"there are only {found} clusters: the {found} nearest ones count for each row, not 8"
    assert note in done.browsing.record["notes"]
    assert note in (done.path / "report.md").read_text()
    asked = cluster(store, tmp_path / "clusters", ClusterRequest(encoder="toy", task="found", nearest=found))
    assert not any("nearest ones count" in note for note in asked.browsing.record["notes"])


def test_the_defaults_of_adapt_suit_ten_rows(tmp_path):
    """A row is pushed from at least one cluster, so it is pulled to all but one at most."""
    store = few(tmp_path)
    wanted = AdaptRequest(encoder="toy", recipe=Recipe(epochs=2))
    done = adapt(store, wanted, tmp_path / "adapters", tmp_path / "clusters")
    assert done.written == 10
    positives = done.clusters - 1
    note = f"there are only {done.clusters} clusters: the {positives} nearest ones count for each row, not 8"
    assert any(each.startswith(note) for each in done.notes)
    report = (done.path / "report.md").read_text()
    assert note in report
    assert f"nearest = {positives}," in report
    cluster(store, tmp_path / "clusters", ClusterRequest(encoder="toy", task="found"))
    taken = adapt(store, replace(wanted, clustering="found"), tmp_path / "adapters", tmp_path / "clusters")
    assert (taken.fingerprint, taken.written) == (done.fingerprint, 0)


class Killed(Exception):
    """Raised at the point where the process would die."""


def dying(what: str, least: int):
    def on_progress(step: Step) -> None:
        if step.note == what and step.handled >= least:
            raise Killed

    return on_progress


def test_a_clustering_that_died_while_labelling_is_whole_after_the_next(store, tmp_path, monkeypatch):
    cluster(store, tmp_path / "clusters", replace(WANTED, clusters=5, rows_of=None))
    monkeypatch.setattr("store.tables.labels._CHUNK", 50)
    monkeypatch.setattr("services.jobs.cluster.TELL_EVERY", 10)
    narrower = replace(WANTED, rows_of="group")
    with pytest.raises(Killed):
        cluster(store, tmp_path / "clusters", narrower, dying("rows labelled", 120))
    sources = pc.value_counts(store.labels.get("found")["source"].combine_chunks()).to_pylist()
    assert sorted(each["counts"] for each in sources) == [100, 140]  # two chunks of the new, the rest of the old
    cluster(store, tmp_path / "clusters", narrower)
    whole = Store.open(tmp_path / "db").labels.get("found")
    assert whole.num_rows == 200
    assert len(pc.unique(whole["source"])) == 1
    at = whole["at"].to_pylist()
    cluster(store, tmp_path / "clusters", narrower)
    assert store.labels.get("found")["at"].to_pylist() == at  # nothing new, nothing written


def adapted(store: Store, tmp_path, on_progress=ignore, **changes):
    wanted = replace(AdaptRequest(encoder="toy", recipe=RECIPE, clusters=10), **changes)
    return adapt(store, wanted, tmp_path / "adapters", tmp_path / "clusters", on_progress)


def test_an_adaptation_that_died_while_writing_goes_on(store, tmp_path, monkeypatch):
    monkeypatch.setattr("services.jobs.derived.COMMIT_BYTES", 4 * DIM * 50)
    with pytest.raises(Killed):
        adapted(store, tmp_path, dying("vectors adapted", 100))
    [table] = [each for each in store.encoders() if each.name != "toy"]
    assert 0 < table.rows < N
    done = adapted(store, tmp_path)
    assert (done.name, done.rows, done.written) == (table.name, N, N - table.rows)
    assert adapted(store, tmp_path).written == 0
    ids = store.features(done.name).ids().to_pylist()
    assert sorted(ids) == sorted(strings(store))


def test_the_derived_table_says_what_it_is(store, tmp_path):
    done = adapted(store, tmp_path)
    table = store.features(done.name)
    assert (table.spec.dim, table.spec.parent, table.fingerprint) == (6, SPEC.fingerprint, done.fingerprint)
    manifest = json.loads((done.path / "manifest.json").read_text())
    assert manifest["record"]["rows"] == 160
    assert manifest["record"]["recipe"]["dim"] == 6
    assert len(manifest["record"]["curve"]) == len(done.curve) == 4
    assert f"# Adapter {done.name}" in (done.path / "report.md").read_text()
    _, X = table.get(strings(store))
    assert np.linalg.norm(X, axis=1) == pytest.approx(1, abs=1e-5)


def test_heads_are_trained_on_a_derived_encoder(store, tmp_path):
    done = adapted(store, tmp_path)
    trained = train(store, Registry(tmp_path / "heads"), task="group", encoders=[done.name], name="g")
    assert trained.report.evaluations["test"].summary()["accuracy"] > 0.9


def test_the_centres_of_a_saved_clustering_may_be_taken(store, tmp_path):
    cluster(store, tmp_path / "clusters", WANTED)
    done = adapted(store, tmp_path, clusters=None, clustering="found")
    assert (done.clusters, done.learned) == (len(Clustering.load(tmp_path / "clusters", "found")), 160)
    cluster(store, tmp_path / "clusters", replace(WANTED, task="few", rows_of="group"))
    assert adapted(store, tmp_path, clusters=None, clustering="few").learned == 120
    store.ensure_features("other", replace(SPEC, weights="x"), PROBE).put(strings(store)[:50], np.eye(50, DIM) + 1)
    with pytest.raises(BadClustering, match="name one of that encoder"):
        adapted(store, tmp_path, encoder="other", clusters=None, clustering="found")


def test_a_sample_is_the_same_whatever_the_order_of_the_store(store, monkeypatch):
    rows = Unlabelled(store, store.features("toy"), store.snapshot())
    ids, X = rows.sample(50, seed=3)
    assert (ids, len(ids)) == (sorted(ids), 50)
    assert (store.features("toy").get(ids)[1] == X).all()
    assert rows.sample(50, seed=3)[0] == ids
    assert rows.sample(50, seed=4)[0] != ids
    monkeypatch.setattr("classifiers.clustering.unlabelled.SAMPLE_BYTES", 4 * DIM * 20)
    assert len(rows.sample(50, seed=3)[0]) == 20


class Parent:
    """A stand-in for a network. Its vectors are in the store, so it must not embed them again."""

    name, spec, backend = "toy", SPEC, "none"

    def reference_probe(self) -> np.ndarray:
        return PROBE

    def prepare(self, image) -> np.ndarray:
        return np.asarray(image.resize((4, 4)))

    def embed(self, pixels, *, modality, tokens=False) -> Embedding:
        assert len(pixels) == 5, "only the probe"
        return Embedding(PROBE)


def test_a_backfill_takes_what_the_parent_has(store, tmp_path):
    done = adapted(store, tmp_path)
    id_ = asset_id(b"late")
    store.assets.add([Asset(id=id_, uri="late", modality="image", media_type="image/png", content=b"late")])
    x = np.arange(DIM, dtype=np.float32)[None] - 3
    store.features("toy").put([id_], x)
    encoder = DerivedEncoder(Parent(), StoredAdapter.load(done.path))
    assert (backfill(store, encoder).done, backfill(store, encoder).total) == (1, 0)
    assert (store.features(done.name).get([id_])[1] == encoder.adapter(x)).all()
