"""The registry: versions, aliases, refusals, and many publishers at once. `tests/faults` kills publishers."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.toys import fitted, record_of

from classifiers.errors import BadArtifact, BadName, NotTrainable, UnknownAlias, UnknownHead, UnknownVersion
from classifiers.heads import LinearHead
from classifiers.published.manifest import EncoderBlock
from classifiers.published.registry import VERSION, Registry


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def publish(registry, name, toy, kind="linear", **params):
    head = fitted(kind, toy, **params).head_
    return registry.publish(name, head, record_of(head, toy, parameters=params), {"report.json": b"{}"})


def test_an_empty_registry_says_so(registry):
    assert registry.names() == []
    assert registry.load_all() == ({}, {})
    with pytest.raises(UnknownHead, match="unknown head 'cats'; known: none yet"):
        registry.load("cats")


def test_versions_are_in_order_and_latest_follows(registry, toy):
    versions = [publish(registry, "cats", toy, C=c) for c in (0.1, 1.0, 10.0)]
    assert registry.versions("cats") == sorted(versions)
    assert all(VERSION.fullmatch(version) for version in versions)
    assert registry.aliases("cats") == {"latest": versions[-1]}
    assert registry.load("cats").version == versions[-1]
    assert registry.load(f"cats@{versions[0]}").version == versions[0]
    assert registry.load("cats@latest").version == versions[-1]


def test_identical_content_is_no_new_version(registry, toy):
    first, second = publish(registry, "cats", toy, C=0.1), publish(registry, "cats", toy, C=1.0)
    assert publish(registry, "cats", toy, C=0.1) == first
    assert registry.versions("cats") == [first, second]
    assert registry.aliases("cats") == {"latest": first}


def test_publishing_again_repairs_a_damaged_version(registry, toy):
    first = publish(registry, "cats", toy)
    (registry.root / "cats" / first / "report.json").unlink()
    second = publish(registry, "cats", toy)
    assert second != first
    assert registry.load("cats").version == second


def test_aliases_are_promoted_by_version_or_alias(registry, toy):
    first, second = publish(registry, "cats", toy, C=0.1), publish(registry, "cats", toy, C=1.0)
    registry.promote("cats", "production", first)
    registry.promote("cats", "canary", "latest")
    assert registry.aliases("cats") == {"latest": second, "production": first, "canary": second}
    assert registry.load("cats@production").version == first
    heads, refused = registry.load_all()
    assert set(heads) == {"cats", "cats@latest", "cats@production", "cats@canary"}
    assert heads["cats"] is heads["cats@canary"]
    assert refused == {}


def test_unknown_names_are_refused_with_those_that_exist(registry, toy):
    version = publish(registry, "cats", toy)
    with pytest.raises(UnknownHead, match="known: cats"):
        registry.load("dogs")
    with pytest.raises(UnknownAlias, match="known: latest"):
        registry.load("cats@production")
    with pytest.raises(UnknownVersion, match=f"known: {version}"):
        registry.load("cats@20200101T000000000Z-000000000000")
    with pytest.raises(UnknownVersion):
        registry.promote("cats", "production", "20200101T000000000Z-000000000000")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../evil", "a/b", "/etc", "a\\b", ".hidden", "-x", "a\0b", "x" * 65, "a@b", "naïve"]
)
def test_names_that_could_be_paths_are_refused(registry, toy, name):
    with pytest.raises(BadName, match="letters, digits"):
        publish(registry, name, toy)
    publish(registry, "cats", toy)
    with pytest.raises((UnknownHead, UnknownAlias)):
        registry.load(name)
    with pytest.raises((UnknownHead, UnknownAlias)):
        registry.load(f"../cats@{name}x")
    with pytest.raises(BadName):
        registry.promote("cats", name, "latest")


@pytest.mark.parametrize("alias", ["latest", "20200101T000000000Z-000000000000"])
def test_aliases_that_mean_something_else_are_refused(registry, toy, alias):
    publish(registry, "cats", toy)
    with pytest.raises(BadName, match="not 'latest' or a version"):
        registry.promote("cats", alias, "latest")


def test_a_bad_head_keeps_no_other_from_loading(registry, toy):
    for name in ("cats", "dogs", "eels", "fish", "gnus"):
        publish(registry, name, toy)
    (registry.path("cats") / "head.safetensors").write_bytes(b"x")
    (registry.root / "dogs" / "aliases.json").write_text("{")
    (registry.root / "eels" / "aliases.json").write_text(json.dumps({"latest": "../../fish"}))
    (registry.root / "stray-folder").mkdir()
    (registry.root / "file").write_text("no head")
    heads, refused = registry.load_all()
    assert set(heads) == {"fish", "fish@latest", "gnus", "gnus@latest"}
    assert set(refused) == {"cats", "cats@latest", "dogs", "eels"}
    assert "digest" in refused["cats"]
    assert "not JSON" in refused["dogs"]
    assert "not a version" in refused["eels"]


def test_a_version_that_does_not_load_is_not_promoted(registry, toy):
    version = publish(registry, "cats", toy)
    (registry.path("cats") / "head.safetensors").unlink()
    with pytest.raises(BadArtifact, match="missing"):
        registry.promote("cats", "production", version)
    assert "production" not in registry.aliases("cats")


def test_a_folder_copied_without_aliases_has_a_latest(registry, toy):
    version = publish(registry, "cats", toy)
    (registry.root / "cats" / "aliases.json").unlink()
    assert registry.load("cats").version == version


def test_diff_names_what_changed(registry, toy):
    a, b = publish(registry, "cats", toy, C=0.1), publish(registry, "cats", toy, C=1.0)
    changed = registry.diff("cats", a, "latest")
    assert changed["parameters.C"] == (0.1, 1.0)
    assert "files.head.safetensors" in changed
    assert "task" not in changed
    assert registry.diff("cats", b, "latest") == {}


PUBLISHER = """
import sys
import numpy as np
from classifiers.heads import LinearHead
from classifiers.published.manifest import EncoderBlock, TrainingRecord
from classifiers.published.registry import Registry
registry, who = Registry(sys.argv[1]), int(sys.argv[2])
record = TrainingRecord(
    parameters={}, task="t", encoders=(EncoderBlock(name="toy", fingerprint="a" * 64, columns=(0, 4)),),
    snapshot={}, training_ids="b" * 64, counts=(1, 2), metrics={}, conformal={}, outlier=(), packages={},
)
for number in (1, 2, 3, 10 + who) * 3:
    registry.publish("shared", LinearHead("ab", np.full((2, 4), number, "f4"), np.zeros(2, "f4")), record)
    registry.promote("shared", f"of-{who}", "latest")
"""


def start_publisher(registry, who):
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, str(registry.root), str(who)],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_publishers_at_once_lose_nothing_and_double_nothing(registry):
    publishers = [start_publisher(registry, who) for who in range(3)]
    for publisher in publishers:
        publisher.communicate()
    assert [publisher.returncode for publisher in publishers] == [0, 0, 0]
    assert len(registry.versions("shared")) == 3 + 3  # three in common, one each of their own
    assert len({version[-12:] for version in registry.versions("shared")}) == 6
    assert set(registry.aliases("shared")) == {"latest", "of-0", "of-1", "of-2"}
    assert registry.load_all()[1] == {}


def test_the_order_of_versions_is_that_of_publication_even_if_the_clock_is_set_back(registry, toy):
    head = fitted("linear", toy).head_
    published = []
    for day in (9, 3, 8, 1):
        clock = datetime(2030, 1, day, 23, 59, 59, tzinfo=UTC)
        record = record_of(head, toy, parameters={"day": day}, created_at=clock)
        published.append(registry.publish("cats", head, record))
    assert registry.versions("cats") == published
    assert all(VERSION.fullmatch(version) for version in published)
    assert published[0].startswith("20300109T235959000Z-")
    assert published[3].startswith("20300109T235959003Z-")
    (registry.root / "cats" / "aliases.json").unlink()
    assert registry.load("cats").manifest.parameters == {"day": 1}
    assert registry.load("cats").manifest.created_at.day == 1  # the record keeps the clock's time


def test_a_version_whose_time_is_no_date_does_not_stop_the_order(registry, toy):
    (registry.root / "cats" / "99999999T999999999Z-0123456789ab").mkdir(parents=True)
    (registry.root / "cats" / "99991231T235959999Z-0123456789ab").mkdir()
    versions = [publish(registry, "cats", toy, C=c) for c in (0.1, 1.0)]
    assert sorted(versions) == versions
    assert registry.load("cats").version == versions[-1]


def test_publishers_with_different_clocks_take_turns(registry, toy):
    head = fitted("linear", toy).head_

    def at(number):
        created = datetime(2030, 1, 1 + number % 5, tzinfo=UTC)
        return registry.publish("cats", head, record_of(head, toy, parameters={"n": number}, created_at=created))

    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(at, range(12)))
    assert sorted(versions) == registry.versions("cats")
    assert len({version[:18] for version in versions}) == 12  # no two have the same time
    assert registry.aliases("cats") == {"latest": max(versions)}


def test_a_head_that_could_not_be_loaded_again_is_not_published(registry, toy):
    good = publish(registry, "cats", toy)
    broken = LinearHead("ab", np.full((2, 4), np.nan, "f4"), np.zeros(2, "f4"))
    encoders = (EncoderBlock(name="toy", fingerprint="a" * 64, columns=(0, 4)),)
    record = record_of(fitted("linear", toy).head_, toy, encoders=encoders, counts=(1, 2))
    with pytest.raises(NotTrainable, match=r"not published, because no service would load it: .*'W' holds NaN"):
        registry.publish("cats", broken, record)
    assert registry.versions("cats") == [good]
    assert registry.load("cats").version == good


HOSTILE_ALIASES = {
    "folder": os.mkdir,
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "large": lambda path: path.write_bytes(b" " * (2**20 + 1)),
    "deep": lambda path: path.write_text("[" * 200_000),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe{}"),
    "surrogate": lambda path: path.write_text('{"\\ud800": "20260101T000000000Z-0123456789ab"}'),
    "number": lambda path: path.write_text('{"latest": 1}'),
    "long": lambda path: path.write_text(json.dumps({"latest": "x" * 10**6})),
    "long name": lambda path: path.write_text(json.dumps({"x" * 10**6: "20260101T000000000Z-0123456789ab"})),
}


@pytest.mark.parametrize("make", HOSTILE_ALIASES.values(), ids=HOSTILE_ALIASES)
def test_a_hostile_aliases_file_refuses_its_head_alone(registry, toy, make):
    for name in ("cats", "dogs"):
        publish(registry, name, toy)
    path = registry.root / "dogs" / "aliases.json"
    path.unlink()
    make(path)
    heads, refused = registry.load_all()
    assert set(heads) == {"cats", "cats@latest"}
    assert set(refused) == {"dogs"}
    assert len(refused["dogs"]) < 600
    refused["dogs"].encode()
