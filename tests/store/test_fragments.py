"""Fragments that workers write and one process commits: each id is stored once, whatever other processes do."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from helpers.toystore import PROBE, make_vectors, toy_spec

from store import Features, Store
from store.lance.fragments import Appender, write

IDS = [f"{i:04d}" for i in range(400)]
X = make_vectors(len(IDS))


@pytest.fixture
def features(store: Store) -> Features:
    return store.ensure_features("toy", toy_spec(), PROBE)


def written(features: Features, rows: slice) -> tuple[list[str], list[str]]:
    return IDS[rows], write(features.table, features.arrow(IDS[rows], X[rows]))


def stored(features: Features) -> list[str]:
    """Return the stored ids, after a check that every vector belongs to its id."""
    ids: list[str] = features.ids().to_pylist()
    np.testing.assert_array_equal(features.get(ids)[1], X[[IDS.index(id_) for id_ in ids]])
    return ids


def test_rows_are_seen_once_they_are_committed(features: Features) -> None:
    appender = Appender(features.table, IDS)
    chunk = written(features, slice(0, 50))
    assert features.rows == 0
    assert appender.append(*chunk) == 50
    assert stored(features) == IDS[:50]
    assert appender.append(*chunk) == 0
    assert Appender(features.table, IDS).append(*chunk) == 0
    assert features.put(IDS[40:60], X[40:60]) == 10
    assert sorted(stored(features)) == IDS[:60]


def test_what_others_stored_meanwhile_is_left_out(features: Features) -> None:
    appender, other = Appender(features.table, IDS), Appender(features.table, IDS)
    first, second, third = (written(features, slice(i, i + 100)) for i in (0, 50, 100))
    features.put(IDS[90:110], X[90:110])
    assert other.append(*first) == 90
    assert appender.append(*second) == 40
    assert other.append(*third) == 50
    assert sorted(stored(features)) == IDS[:200]


def test_compaction_changes_nothing(store: Store, features: Features) -> None:
    appender = Appender(features.table, IDS)
    for start in range(0, 200, 20):
        assert appender.append(*written(features, slice(start, start + 20))) == 20
        if start % 60 == 0:
            store.optimize(keep=timedelta(milliseconds=1))
    waiting = written(features, slice(150, 250))
    store.optimize(keep=timedelta(milliseconds=1))  # must keep fragments that wait for their commit
    assert appender.append(*waiting) == 50
    assert sorted(stored(features)) == IDS[:250]


def test_tokens_and_half_precision_go_the_same_way(store: Store, features: Features) -> None:
    tokens = store.ensure_tokens("toy", toy_spec())
    T = np.random.default_rng(0).standard_normal((60, 3, 4)).astype(np.float16)
    tokens.put(IDS[:10], T[:10])
    appender = Appender(tokens.table, IDS)
    assert appender.append(IDS[:60], write(tokens.table, tokens.arrow(IDS[:60], T))) == 50
    np.testing.assert_array_equal(tokens.get(IDS[:60])[1], T.astype(np.float32))


HEAD = """
import json, sys
import numpy as np
sys.path.insert(0, "tests")
from helpers.toystore import make_vectors
from store import Store
from store.lance.fragments import Appender, write
features = Store.open(sys.argv[1]).features("toy")
ids = [f"{i:04d}" for i in range(400)]
X = make_vectors(400)
order = np.random.default_rng(int(sys.argv[2])).permutation(400)
print("ready", flush=True)
sys.stdin.readline()
new = 0
"""

APPEND = (
    HEAD
    + """
appender = Appender(features.table, ids)
for rows in np.split(order, 20):
    some = [ids[i] for i in rows]
    new += appender.append(some, write(features.table, features.arrow(some, X[rows])))
print(json.dumps(new))
"""
)
PUT = (
    HEAD
    + "for rows in np.split(order, 20): new += features.put([ids[i] for i in rows], X[rows])\nprint(json.dumps(new))"
)


def lines(process: "Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def test_processes_that_append_and_put_the_same_rows(
    start_python: Callable[..., "Popen[str]"], features: Features
) -> None:
    """Every process writes the same 400 ids at once, each in another order, in 20 commits of 20 rows."""
    uri = Path(features.table.uri).parent
    workers = [start_python(code, uri, i) for i, code in enumerate((APPEND, APPEND, PUT, PUT))]
    assert [next(lines(worker)) for worker in workers] == ["ready\n"] * 4
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    new = [json.loads(worker.communicate(timeout=240)[0]) for worker in workers]
    assert sum(new) == len(IDS), new  # each row was new to exactly one of them
    assert sorted(stored(features)) == IDS


def test_a_writer_killed_before_its_commit_leaves_nothing_to_see(
    start_python: Callable[..., "Popen[str]"], store: Store, features: Features
) -> None:
    code = HEAD + "write(features.table, features.arrow(ids, X))\nprint('written', flush=True)\nsys.stdin.read()"
    worker = start_python(code, store.uri, 0)
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()
    assert "written\n" in lines(worker)
    worker.kill()
    worker.communicate()
    assert features.rows == 0
    orphans = list(Path(features.table.uri, "data").iterdir())
    assert len(orphans) == 1
    assert Appender(features.table, IDS).append(*written(features, slice(0, 400))) == 400
    store.optimize(keep=timedelta(milliseconds=1))
    assert stored(features) == IDS
    assert orphans[0].exists(), "younger than a week: it might still be committed"
    assert time.time() - orphans[0].stat().st_mtime < 600
