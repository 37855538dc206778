from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import Label, Store, split_of
from store.errors import BadLabels, BadSplit, FrozenSplit


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
