"""Lists of seen and unseen labels are read as papers publish them, and do not silently lose or share a label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.annotations.errors import BadAnnotations
from services.jobs.annotations.label_lists import LabelSplit, read_labels, read_split

DESCRIPTIONS = 'LabelName,DisplayName\n/m/0199g,Bicycle\n/m/01g317,Person\n/m/0bt9lr,"Dog, pet"\n'


@pytest.fixture
def file(tmp_path):
    def make(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Concepts81.txt", "sky\r\nclouds\r\nfox hunt\r\n"),
        ("labels.txt", "sky\n\n  clouds \nfox hunt"),
        ("labels", "sky\nclouds\nfox hunt\n".encode("utf-16")),
        ("a.csv", "sky\nclouds\nfox hunt\n"),
        ("a.csv", "Label\nsky\nclouds\nfox hunt\n"),
        ("a.csv", "id,Class,count\n1,sky,5\n2,clouds,5\n3,fox hunt,1\n"),
        ("a.csv", "LabelName\nsky\nclouds\nfox hunt\n"),
        ("a.tsv", "n\ttag\n1\tsky\n2\tclouds\n3\tfox hunt\n"),
        ("class-descriptions.csv", "/m/1,sky\n/m/2,clouds\n/m/3,fox hunt\n"),
        ("oidv7-class-descriptions.csv", "LabelName,DisplayName\n/m/1,sky\n/m/2,clouds\n/m/3,fox hunt\n"),
    ],
)
def test_every_published_form_is_a_list_of_labels(file, name, content):
    assert read_labels(file(name, content)) == ["sky", "clouds", "fox hunt"]


def test_ids_of_open_images_are_replaced_by_their_names(file):
    names = file("class-descriptions.csv", DESCRIPTIONS)
    trainable = file("classes-trainable.txt", "/m/0bt9lr\n/m/0199g\n")
    assert read_labels(trainable, names) == ["Dog, pet", "Bicycle"]
    split = read_split(["Bicycle", "Dog, pet", "Person"], seen=trainable, names=names)
    assert split == LabelSplit(("Dog, pet", "Bicycle"), ("Person",))
    assert read_labels(file("x.txt", "/m/0zzz\nPerson\n"), names) == ["/m/0zzz", "Person"]  # as ingest labels them
    with pytest.raises(BadAnnotations, match="has no ids and names of classes, like /m/0199g,Bicycle"):
        read_labels(trainable, file("empty.csv", "<html>\n"))


def test_classes_of_open_images_that_share_a_name_are_told_apart_by_their_ids(file):
    names = file("class-descriptions.csv", "/m/1,Crane\n/m/2,Dog\n/m/3,Crane\n")
    assert read_labels(names) == ["Crane (/m/1)", "Dog", "Crane (/m/3)"]
    assert read_labels(file("x.txt", "/m/3\n/m/2\n"), names) == ["Crane (/m/3)", "Dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt has no labels"),
        ("a.csv", "label\n", "a.csv has no labels"),
        ("a.txt", "sky\nclouds\nsky\n", "line 3: 'sky' is also in line 1; remove one of them"),
        ("a.txt", "cafe\u0301\ncaf\u00e9\n", "line 2: 'café' is also in line 1"),
        ("a.txt", "x" * 257, "line 1: a label of 257 characters; at most 256 are possible"),
        ("a.csv", "1,sky\n2,clouds\n", "a.csv has 2 columns, and none is known to hold the labels: 1, sky"),
        ("a.csv", "n,label\n1,sky\n2\n", "a.csv, line 3 has no cell with a label"),
        ("a.csv", "n,label\n1,sky\n2,\n", "line 3: '' is no label; is the file a list of labels?"),
        ("unseen_labels.pkl", b"\x80\x03]q\x00(X\x03\x00\x00\x00skye.", "is no label|is not in the encoding"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_place(file, name, content, message):
    with pytest.raises(BadAnnotations, match=message):
        read_labels(file(name, content))


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(BadAnnotations, match=r"nowhere.txt cannot be read: No such file or directory"):
        read_labels(tmp_path / "nowhere.txt")


def test_with_one_file_the_other_labels_are_the_rest(file):
    labels = ["sky", "Fox_Hunt", "sunset", "nikon"]
    concepts = file("Concepts81.txt", "fox hunt\nsky\nwhales\n")
    split = read_split(labels, unseen=concepts)
    assert split == LabelSplit(("sunset", "nikon"), ("Fox_Hunt", "sky"), ("whales",))
    assert read_split(labels, seen=concepts) == LabelSplit(split.unseen, split.seen, ("whales",))
    twice = file("twice.txt", "fox hunt\nFox_Hunt\n")
    assert read_split(labels, seen=twice) == LabelSplit(("Fox_Hunt",), ("sky", "sunset", "nikon"))


def test_with_both_files_labels_in_neither_are_named_and_labels_in_both_are_refused(file):
    labels = ["a", "b", "c"]
    seen, unseen = file("s.txt", "b\nx\n"), file("u.txt", "a\n")
    assert read_split(labels, seen, unseen) == LabelSplit(("b",), ("a",), ("x",), ("c",))
    with pytest.raises(BadAnnotations, match=r"1 labels are both seen and unseen, e.g. 'a'; take them from one list"):
        read_split(labels, file("t.txt", "b\nA\n"), unseen)


def test_a_spelling_that_two_labels_share_means_neither_unless_it_is_exact(file):
    labels = ["Apple", "apple", "pear"]
    assert read_split(labels, seen=file("a.txt", "apple\n")).seen == ("apple",)
    assert read_split(labels, seen=file("b.txt", "pear\nAPPLE\n")) == LabelSplit(
        ("pear",), ("Apple", "apple"), ("APPLE",)
    )


def test_a_split_without_seen_or_without_unseen_labels_is_refused(file):
    with pytest.raises(BadAnnotations, match=r"no label of the task is seen: .*x.txt has none of them. .* e.g., a, b"):
        read_split(["a", "b"], seen=file("x.txt", "q\n"))
    with pytest.raises(BadAnnotations, match="no label of the task is unseen: the other file has them all"):
        read_split(["a", "b"], seen=file("y.txt", "a\nb\n"))
    with pytest.raises(BadAnnotations, match="no list of labels is given"):
        read_split(["a", "b"])


@given(st.lists(st.text("abcXYZ_ é", min_size=1).map(str.strip).filter(bool), min_size=2, unique=True), st.data())
def test_seen_and_unseen_share_nothing_and_lose_nothing(tmp_path_factory, labels, data):
    chosen = data.draw(st.lists(st.sampled_from(labels), min_size=1, max_size=len(labels) - 1, unique=True))
    path = tmp_path_factory.mktemp("lists") / "seen.txt"
    path.write_text("\n".join(chosen), encoding="utf-8")
    split = read_split(labels, seen=path)
    assert set(split.seen) == set(chosen)
    assert sorted(split.seen + split.unseen) == sorted(labels)
    assert (split.unknown, split.unlisted) == ((), ())
