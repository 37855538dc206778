"""Statistics gathered on several threads equal those of one thread, each time; errors are passed on."""

import resource
from threading import get_ident

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from classifiers.errors import BadVectors
from classifiers.fit.gaussian import parallel
from classifiers.fit.gaussian.memory import memory_kept
from classifiers.fit.gaussian.parallel import Batch
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import Transform


def pieces(toy, rows):
    for start in range(0, len(toy.X), rows):
        yield Batch(toy.X[start : start + rows].astype(np.float64), toy.codes[start : start + rows])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("rows", [7, 100, 1000])
def test_any_number_of_workers_gives_the_same(toy, monkeypatch, count, rows):
    monkeypatch.setattr(parallel, "workers", lambda: count)
    alone = GaussianStatistics.empty(5, 12)
    alone.update(toy.X.astype(np.float64), toy.codes)
    found = parallel.gather(pieces(toy, rows), 5, Transform(12))
    np.testing.assert_array_equal(found.counts, alone.counts)
    np.testing.assert_allclose(found.sums, alone.sums, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(found.second, alone.second, rtol=1e-10, atol=1e-9)
    again = parallel.gather(pieces(toy, rows), 5, Transform(12))
    np.testing.assert_array_equal(again.second, found.second)


@pytest.mark.parametrize("rows", [0, 1, 3, 600])
def test_shares_are_all_rows_once(toy, monkeypatch, rows):
    monkeypatch.setattr(parallel, "workers", lambda: 4)
    found = list(parallel.shares(toy.X[:rows], toy.codes[:rows]))
    assert len(found) == 4
    np.testing.assert_array_equal(np.concatenate([batch.X for batch in found]), toy.X[:rows])
    np.testing.assert_array_equal(np.concatenate([batch.codes for batch in found]), toy.codes[:rows])


def test_every_worker_gets_a_share(toy, monkeypatch):
    threads, workers = set(), parallel.workers()
    of = GaussianStatistics.of

    def noting(*arguments):
        threads.add(get_ident())
        return of(*arguments)

    monkeypatch.setattr(GaussianStatistics, "of", noting)
    parallel.gather(parallel.shares(toy.X, toy.codes), 5, Transform(12))
    assert len(threads) == workers


def test_small_matrices_are_factorised_by_one_thread_and_large_ones_by_all():
    before = parallel.workers()
    with parallel.factorising(parallel.SMALL):
        assert parallel.workers() == 1
    with parallel.factorising(parallel.SMALL + 1):
        assert parallel.workers() == before
    assert parallel.workers() == before


def test_inside_gather_blas_has_one_thread(toy):
    def batches():
        assert parallel.workers() == 1
        yield Batch(toy.X, toy.codes)

    before = parallel.workers()
    parallel.gather(batches(), 5, Transform(12))
    assert parallel.workers() == before


def test_no_batches_are_no_rows():
    assert parallel.gather([], 3, Transform(4)).rows == 0


def test_errors_of_a_worker_and_of_the_source_come_through_and_threads_are_given_back(toy):
    before = threadpool_info()
    with pytest.raises(BadVectors, match="NaN"):
        parallel.gather([Batch(np.full((3, 12), np.nan), np.zeros(3, int))], 5, Transform(12))

    def broken():
        yield Batch(toy.X, toy.codes)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        parallel.gather(broken(), 5, Transform(12))
    assert threadpool_info() == before


@pytest.mark.parametrize("weighted", [False, True])
def test_several_forms_from_one_pass_are_those_of_a_pass_each(toy, weighted):
    weights = np.linspace(0.5, 2, len(toy.X)) if weighted else None
    batches = [
        batch._replace(weights=None if weights is None else weights[: len(batch.X)]) for batch in pieces(toy, 70)
    ]
    forms = [parallel.Form(Transform(12), "full"), parallel.Form(Transform(12, unit=(0, 5, 12)))]
    for found, form in zip(parallel.gather_forms(batches, 5, forms), forms, strict=True):
        alone = parallel.gather(batches, 5, *form)
        np.testing.assert_array_equal(found.counts, alone.counts)
        np.testing.assert_allclose(found.sums, alone.sums, rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(found.second, alone.second, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("workers", [1, 2])
def test_items_computed_ahead_keep_their_order_and_their_error(monkeypatch, workers):
    monkeypatch.setattr(parallel, "workers", lambda: workers)
    with parallel.ahead(6 // (3 - each) for each in range(9)) as items:
        assert [next(items) for _ in range(3)] == [2, 3, 6]
        with pytest.raises(ZeroDivisionError):
            next(items)
    with parallel.ahead(iter([None, 0, 5])) as items:
        assert list(items) == [None, 0, 5]


def test_memory_that_is_freed_in_a_pass_is_not_fetched_from_the_system_again():
    def faults(rounds: int = 4) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(rounds):
            np.ones(2**23)  # 64 MB, above all that glibc keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    apart = faults()
    with memory_kept(), memory_kept():
        faults(1)
        kept = faults()
    assert kept < apart / 10
    assert faults() > apart / 2
