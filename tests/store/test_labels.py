from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import Label, Store, split_of
from store.errors import BadLabels, BadSplit, FrozenSplit
from store.interchange import export_parquet, import_parquet
from store.schema import FRACTIONS
from store.tables.group_splits import proposed
from store.tables.undo import undo


def rows(store: Store, task: str = "t") -> dict[str, tuple[list[str], str]]:
    return {row["id"]: (row["labels"], row["split"]) for row in store.labels.get(task).to_pylist()}


def test_latest_wins_and_tasks_are_apart(store: Store) -> None:
    assert store.labels.put("t", [Label("a", ["x"]), Label("b", ["x"]), Label("a", ["y"])]) == 2
    store.labels.put("it's", [Label("a", ["p", "q"], "ood", "hand")])
    store.labels.put("t", [Label("b", ["z"])])
    assert {id_: labels for id_, (labels, _) in rows(store).items()} == {"a": ["y"], "b": ["z"]}
    assert rows(store, "it's") == {"a": (["p", "q"], "ood")}
    assert store.labels.tasks() == {"it's": 1, "t": 2}


def test_writing_the_same_again_writes_nothing(store: Store) -> None:
    labels = [Label(str(i), ["x"]) for i in range(10)]
    assert store.labels.put("t", labels) == 10
    before = store.snapshot().versions
    assert store.labels.put("t", labels) == 0
    assert store.snapshot().versions == before


def test_split_by_hash_then_frozen(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"]), Label("b", ["x"], "test")])
    store.labels.put("t", [Label("a", ["y"]), Label("b", ["y"])])
    assert rows(store) == {"a": (["y"], split_of("a")), "b": (["y"], "test")}


def test_another_split_is_refused_unless_moved(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"], "test"), Label("b", ["x"], "val")])
    with pytest.raises(FrozenSplit, match=r"1 assets of task 't' .* a: stored as test, now given as train") as caught:
        store.labels.put("t", [Label("b", ["y"]), Label("a", ["y"], "train")])
    assert caught.value.moves == [("a", "test", "train")]
    assert rows(store) == {"a": (["x"], "test"), "b": (["x"], "val")}
    assert store.labels.put("t", [Label("a", ["y"], "train")], move_splits=True) == 1
    assert rows(store)["a"] == (["y"], "train")
    store.labels.put("u", [Label("a", ["y"], "train")])  # of another task: no conflict


@pytest.mark.parametrize(
    ("label", "error"),
    [
        (Label("a", ["x"], "dev"), BadSplit),
        (Label("a", "x"), BadLabels),
        (Label("a", [""]), BadLabels),
    ],
)
def test_bad_rows_are_refused(store: Store, label: Label, error: type[Exception]) -> None:
    with pytest.raises(error):
        store.labels.put("t", [label])
    with pytest.raises(BadLabels, match="name"):
        store.labels.put("", [Label("a", ["x"])])


def test_classes_are_what_can_be_learnt(store: Store) -> None:
    labels = [Label("a", ["x", "b"], "train"), Label("b", ["only test"], "test"), Label("c", ["bg"], "ood")]
    store.labels.put("t", labels)
    assert store.labels.classes("t") == ("b", "x")
    store.labels.put("u", labels[1:])
    assert store.labels.classes("u") == ("only test",)


def test_more_rows_than_an_in_filter_takes(store: Store) -> None:
    labels = [Label(str(i), ["x"], "val") for i in range(1500)]
    assert store.labels.put("t", labels) == 1500
    assert store.labels.put("t", [*labels[1:], Label("0", ["y"])]) == 1
    assert rows(store)["0"] == (["y"], "val")


_label = st.builds(
    Label, st.sampled_from("abc"), st.lists(st.sampled_from("xyz"), max_size=2), st.sampled_from([None, "val", "test"])
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_label, max_size=6))
def test_like_a_dictionary(tmp_path_factory: pytest.TempPathFactory, given_labels: list[Label]) -> None:
    """The table behaves like a dictionary of distinct labels, whose split is set with setdefault."""
    store = Store.open(Path(tmp_path_factory.mktemp("labels")))
    model: dict[str, tuple[list[str], str]] = {}
    for label in given_labels:
        split = model[label.id][1] if label.id in model else (label.split or split_of(label.id))
        if label.split not in (None, split):
            with pytest.raises(BadSplit):
                store.labels.put("t", [label])
            continue
        store.labels.put("t", [label])
        model[label.id] = (sorted(set(label.labels), key=list(label.labels).index), split)
    if model:
        assert rows(store) == model


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("", Label("new", ["x"])),
        ("t", Label("new", [""])),
        ("t", Label("new", ["x", " \t"])),
        ("t", Label("new", ["x"], "nosuch")),
        ("t", Label("old", ["x"], "train")),
        ("t", Label("old", ["y"], "test")),
        ("t", Label("new", ["x"], "train")),
        ("other", Label("old", ["x"], "train")),
    ],
)
def test_require_refuses_what_put_refuses_and_writes_nothing(store: Store, task: str, given: Label) -> None:
    def refusal(write: Callable[[str, list[Label]], object]) -> str | None:
        try:
            write(task, [Label("good", ["x"]), given])
        except (BadLabels, BadSplit) as error:
            return f"{type(error).__name__}: {error}"
        return None

    store.labels.put("t", [Label("old", ["x"], "test")])
    before = store.snapshot().versions
    required = refusal(store.labels.require)
    assert store.snapshot().versions == before
    assert required == refusal(store.labels.put)


def test_a_group_is_kept_with_the_labels_and_comes_back_with_them(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"], "train", group="ann"), Label("b", ["x"], "train")])
    store.labels.put("t", [Label("a", ["y"])])
    assert groups(store) == {"a": "ann", "b": None}
    store.labels.put("t", [Label("a", ["y"], group="bob")])
    assert [each.group for each in store.labels.of("a")] == ["ann", "ann", "bob"]
    undo(store.labels)
    assert groups(store)["a"] == "ann"
    store.labels.remove("t", ["a"])
    store.labels.put("t", [Label("a", ["z"])])
    assert groups(store)["a"] == "ann"
    store.labels.put("t", [Label("a", ["z"], group="")])
    assert groups(store)["a"] is None


def groups(store: Store, task: str = "t") -> dict[str, str | None]:
    return {row["id"]: row["group"] for row in store.labels.get(task).to_pylist()}


def test_a_table_gets_its_column_of_groups_with_the_first_group(store: Store) -> None:
    store.labels.put("t", [Label("a", ["x"], "train")])
    assert "group" not in store.labels.table.stored().names
    before = store.snapshot()
    store.labels.put("t", [Label("b", ["x"], "train", group="ann")])
    assert "group" in store.labels.table.stored().names
    assert groups(store) == {"a": None, "b": "ann"}
    old = store.labels.get("t", version=before.of(store.labels.table))
    assert old.select(["id", "group"]).to_pylist() == [{"id": "a", "group": None}]


@pytest.mark.parametrize("grouped", [False, True])
def test_an_export_carries_the_groups(store: Store, tmp_path: Path, grouped: bool) -> None:
    """Without groups, an export has the columns of before there were any, which older versions read."""
    store.labels.put("t", [Label("a", ["x"], "train", group="ann" if grouped else None)])
    store.labels.put("t", [Label("a", ["y"])])
    export_parquet(store, tmp_path / "out")
    assert ("group" in pq.read_schema(tmp_path / "out" / "labels.parquet").names) == grouped
    copy = Store.open(tmp_path / "copy")
    import_parquet(copy, tmp_path / "out")
    assert copy.labels.of("a") == store.labels.of("a")
    assert groups(copy) == {"a": "ann" if grouped else None}


def test_all_rows_of_a_group_come_into_one_split_and_few_groups_into_two(store: Store) -> None:
    labels = [Label(f"{group}{i}", ["x"], group=group) for group in ("ann", "bob", "cy", "di") for i in range(10)]
    store.labels.put("t", [each for each in labels if each.id[-1] != "9"])
    store.labels.put("t", [each for each in labels if each.id[-1] == "9"])
    splits = {row["id"]: row["split"] for row in store.labels.get("t").to_pylist()}
    by_group = {group: {splits[f"{group}{i}"] for i in range(10)} for group in ("ann", "bob", "cy", "di")}
    assert all(len(found) == 1 for found in by_group.values())
    assert Counter(split for [split] in by_group.values()) == {"train": 3, "test": 1}


def test_new_rows_follow_the_stored_rows_of_their_group(store: Store) -> None:
    store.labels.put("t", [Label(str(i), ["x"], "test", group="ann") for i in range(3)])
    store.labels.put("t", [Label("3", ["x"], "train", group="ann"), Label("4", ["x"], group="ann")])
    assert rows(store)["4"] == (["x"], "test")


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 50), min_size=20, max_size=60))
def test_shares_of_many_groups_are_near_those_of_the_splits(sizes: dict[str, int]) -> None:
    found = proposed(sizes, {})
    total, largest = sum(sizes.values()), max(sizes.values())
    for split, share in zip(("train", "val", "test"), FRACTIONS, strict=True):
        rows = sum(size for group, size in sizes.items() if found[group] == split)
        assert abs(rows - share * total) <= largest
