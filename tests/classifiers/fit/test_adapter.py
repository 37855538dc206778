"""Training of adapters: it lowers the loss, depends only on the seed, and starts at the clustered space."""

import numpy as np
import pytest
import torch

from classifiers.clustering.clusters import Clustering, centred
from classifiers.clustering.kmeans import fit_centres
from classifiers.errors import BadParameter, NotTrainable, UnknownParameter
from classifiers.fit.discrimination.adapter import _Model, fit_adapter, principal_axes
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from embedder.derived.adapter import Adapter


def start(n: int = 600, dim: int = 16, clusters: int = 20) -> tuple[np.ndarray, Clustering]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, dim))[rng.integers(12, size=n)] + 0.4 * rng.normal(size=(n, dim)) + 1
    X = X.astype(np.float32)
    return X, Clustering("toy", "f" * 64, *fit_centres(X, clusters), {})


def fit(recipe: Recipe, **changes: int):
    X, made = start(**changes)
    return fit_adapter(centred(X, made.mean), made.centres, made.assign(X, recipe.nearest)[0], recipe), X, made


def adapter(fitted, made: Clustering) -> Adapter:
    return Adapter({"mean": made.mean, **fitted.arrays})


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_falls_and_vectors_have_unit_norm(loss, hidden):
    fitted, X, made = fit(Recipe(loss=loss, nearest=2, dim=8, hidden=hidden, epochs=20, learning_rate=1e-2))
    assert fitted.curve[-1].loss < fitted.curve[0].loss
    found = adapter(fitted, made)(X)
    assert fitted(centred(X, made.mean)) == pytest.approx(found, abs=1e-6)
    assert found.shape == (600, 8)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_the_start_is_the_space_that_was_clustered():
    """Before the first step, all dimensions keep every cosine, and fewer dimensions keep the cosines of PCA."""
    X, made = start()
    Z = centred(X, made.mean)
    recipe = Recipe(dim=16, learning_rate=0.0, epochs=1)
    kept = adapter(fit_adapter(Z, made.centres, made.assign(X, 8)[0], recipe), made)(X)
    assert kept @ kept.T == pytest.approx(Z @ Z.T, abs=1e-5)
    _, _, axes = np.linalg.svd(Z, full_matrices=False)
    ours = principal_axes(Z, 5)
    assert np.abs((ours * axes[:5]).sum(axis=1)) == pytest.approx(1, abs=1e-3)
    assert ours @ ours.T == pytest.approx(np.eye(5), abs=1e-5)


def test_the_same_seed_gives_the_same_adapter_whatever_torch_did_before():
    recipe = Recipe(nearest=3, hidden=4, epochs=3, loss="unicom")
    one, _, made = fit(recipe)
    torch.manual_seed(77)
    two, _, _ = fit(recipe)
    assert adapter(one, made).digest == adapter(two, made).digest
    other, _, _ = fit(Recipe(nearest=3, hidden=4, epochs=3, loss="unicom", seed=1))
    assert adapter(other, made).digest != adapter(one, made).digest


def test_batch_normalisation_is_folded_in_exactly():
    """Torch's own layers with the same numbers, in eval mode, return the same vectors."""
    rng = np.random.default_rng(0)
    Z = centred(rng.normal(size=(50, 6)).astype(np.float32), np.zeros(6, np.float32))
    model = _Model(Z, Z[:5], Recipe(dim=4, hidden=3), torch.Generator().manual_seed(0))
    inner, norm = torch.nn.Linear(6, 3, bias=False), torch.nn.BatchNorm1d(3)
    with torch.no_grad():
        for name in model.hidden:
            model.hidden[name].copy_(torch.randn(model.hidden[name].shape))
        model(torch.from_numpy(Z))  # moves the running figures
        inner.weight.copy_(model.hidden["U"])
        norm.weight.copy_(model.hidden["gain"])
        norm.bias.copy_(model.hidden["shift"])
        norm.running_mean.copy_(model.mean)
        norm.running_var.copy_(model.variance)
        hidden = torch.relu(norm.eval()(inner(torch.from_numpy(Z)))) @ model.hidden["V"].T
        wanted = torch.nn.functional.normalize(torch.from_numpy(Z) @ model.A.T + hidden).numpy()
    found = Adapter({"mean": np.zeros(6, np.float32), **model.arrays()})(Z)
    assert found == pytest.approx(wanted, abs=1e-5)


def test_positives_must_leave_a_negative():
    with pytest.raises(NotTrainable, match="leave no negative"):
        fit(Recipe(nearest=4), clusters=4)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"loss": "arcface"}, "mlcd, mlc, single, unicom"),
        ({"epochs": 0}, "≥ 1"),
        ({"dim": 12.5}, "whole number"),
        ({"hidden": True}, "whole number"),
        ({"negatives": 1.5}, "from 0 to 1"),
        ({"scale": "32"}, "from 1 to 1000"),
        ({"margin": -0.1}, "from 0 to 1.571"),
    ],
)
def test_bad_parameters_are_refused_with_what_is_allowed(given, allowed):
    with pytest.raises(BadParameter, match=allowed):
        Recipe.of(given)


def test_unknown_parameters_are_refused_with_those_there_are():
    with pytest.raises(UnknownParameter, match="known: loss, nearest, dim"):
        Recipe.of({"epoch": 3})
