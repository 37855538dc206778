"""What to label next: spread out, typical, uncertain; and a head learns more from it than from random rows."""

import numpy as np
from helpers.toys import unit

from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.review.suggest import kmeans, label_uncertainty, suggested, typicality, uncertainty

NEAR = 0.98


def world(seed: int, n: int = 1500, classes: int = 12, dim: int = 24):
    """Rows of classes whose sizes fall off, as they do in a heap of photos: the largest has 30 times the smallest."""
    rng = np.random.default_rng(seed)
    share = np.geomspace(30, 1, classes)
    codes = rng.choice(classes, n, p=share / share.sum())
    codes[:classes] = np.arange(classes)
    means = 2.2 * rng.normal(size=(classes, dim)) / np.sqrt(dim)
    X = unit(means[codes] + 1.1 * rng.normal(size=(n, dim)) / np.sqrt(dim)).astype(np.float32)
    return X, codes


def balanced_accuracy(X, codes, labelled, test) -> tuple[float, GaussianClassifier]:
    """The mean over the classes of the share of right answers, of a head that learned from the labelled rows."""
    head = GaussianClassifier(shrinkage=0.3, priors="uniform").fit(X[labelled], codes[labelled])
    right = head.predict(X[test]) == codes[test]
    return float(np.mean([right[codes[test] == k].mean() for k in np.unique(codes[test])])), head


def grown(X, codes, pool, test, seed, at_random: bool) -> list[float]:
    """Balanced accuracy after 12, 36 and 60 labels."""
    rng, labelled, figures = np.random.default_rng(seed), np.empty(0, np.int64), []
    head = None
    for total in (12, 36, 60):
        rest = np.setdiff1d(pool, labelled)
        more = total - len(labelled)
        if at_random:
            chosen = rng.choice(len(rest), more, replace=False)
        else:
            weight = np.ones(len(rest), np.float32)
            if head is not None:
                weight = uncertainty(head.predict_proba(X[rest]).astype(np.float32))
            chosen, _ = suggested(X[rest], X[labelled], weight, more, NEAR, seed=seed)
        labelled = np.concatenate([labelled, rest[chosen]])
        accuracy, head = balanced_accuracy(X, codes, labelled, test)
        figures.append(accuracy)
    return figures


def test_a_head_learns_more_from_suggested_rows_than_from_random_ones():
    found = {True: [], False: []}
    for seed in range(4):
        X, codes = world(seed)
        pool, test = np.arange(900), np.arange(900, 1500)
        for at_random in (True, False):
            found[at_random].append(grown(X, codes, pool, test, seed, at_random))
    random, chosen = (np.mean(found[at_random], axis=0) for at_random in (True, False))
    assert (chosen > random + 0.05).all(), (random, chosen)


def test_no_two_suggestions_are_near_duplicates_nor_is_one_of_a_labelled_row():
    X, _ = world(7, n=300)
    X = np.concatenate([X, X, X])  # every row three times
    chosen, _ = suggested(X, X[:20], np.ones(len(X), np.float32), 100, NEAR)
    cosines = X[chosen] @ X[chosen].T - 2 * np.eye(len(chosen))
    assert len(chosen) == len(set(chosen.tolist())) == 100
    assert cosines.max() < NEAR
    assert (X[chosen] @ X[:20].T).max() < NEAR


def test_all_are_suggested_if_there_are_fewer_than_asked_for():
    X, _ = world(8, n=30)
    for weight in (np.ones(30, np.float32), np.zeros(30, np.float32)):
        chosen, _ = suggested(X, X[:0], weight, 100, 1.1)
        assert sorted(chosen.tolist()) == list(range(30))
    chosen, _ = suggested(X[:1], X[:0], np.ones(1, np.float32), 1, 1.1)
    assert chosen.tolist() == [0]


def test_an_outlier_comes_after_typical_rows_and_certain_ones_after_uncertain_ones():
    rng = np.random.default_rng(0)
    centres = np.eye(3, 16)
    X = unit(np.repeat(centres, 40, axis=0) + 0.05 * rng.normal(size=(120, 16))).astype(np.float32)
    X[0] = unit(rng.normal(size=(1, 16)))[0]
    first, dense = suggested(X, X[:0], np.ones(120, np.float32), 3, NEAR)
    assert sorted((first // 40).tolist()) == [0, 1, 2]
    assert dense[first].min() > np.median(dense)
    weight = np.where(np.arange(120) // 40 == 1, 1, 0.01).astype(np.float32)
    assert (suggested(X, X[:0], weight, 3, NEAR)[0] // 40).tolist()[0] == 1


def test_uncertainty_is_one_at_a_tie_and_zero_at_certainty():
    np.testing.assert_allclose(uncertainty(np.array([[0.5, 0.5, 0], [1, 0, 0], [0.6, 0.2, 0.2]])), [1, 0, 0.6])
    np.testing.assert_allclose(label_uncertainty(np.array([[0.5, 0.01], [1, 0], [0.9, 0.2]])), [1, 0, 0.4])


def test_k_means_finds_separate_clusters_and_typicality_is_a_mean_of_cosines():
    rng = np.random.default_rng(0)
    Z = unit(np.repeat(np.eye(4, 10), 25, axis=0) + 0.03 * rng.normal(size=(100, 10))).astype(np.float32)
    centres = kmeans(Z, 4, seed=3)
    code = (Z @ centres.T).argmax(axis=1)
    assert [len(set(code[start : start + 25].tolist())) for start in range(0, 100, 25)] == [1, 1, 1, 1]
    assert len(set(code.tolist())) == 4
    own = Z[:25] @ Z[:25].T
    expected = [np.sort(np.delete(own[row], row))[-20:].mean() for row in range(25)]
    np.testing.assert_allclose(typicality(Z, code, 4)[:25], expected, atol=1e-5)
