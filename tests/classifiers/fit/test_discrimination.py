"""The losses of cluster discrimination against formulas, hand values, scipy and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from classifiers.fit.discrimination.losses import (
    NONE,
    cosines,
    draw,
    losses,
    mlc,
    mlcd,
    own_centres,
    with_margin,
)
from classifiers.fit.discrimination.recipe import LOSSES, Recipe
from classifiers.fit.multilabel.losses import zlpr_loss


def drawn_cosines(seed: int, rows: int = 6, p: int = 3, q: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    both = 1.8 * torch.rand(rows, p + q, generator=generator, dtype=torch.float64) - 0.9
    return both[:, :p], both[:, p:]


@given(seed=st.integers(0, 1000), scale=st.sampled_from([1.0, 8.0, 32.0]), margin=st.sampled_from([0.0, 0.3]))
@settings(max_examples=30)
def test_the_two_factors_are_the_whole_loss(seed, scale, margin):
    """The reference is eq. 5, term by term in NumPy: log(1 + Σ e^{s_j} Σ e^{−s_i} + Σ e^{s_j} + Σ e^{−s_i})."""
    positive, negative = drawn_cosines(seed)
    angles = np.arccos(positive.numpy())
    pull = np.exp(-scale * np.cos(angles + margin)).sum(axis=1)
    push = np.exp(scale * negative.numpy()).sum(axis=1)
    assert angles.max() + margin < math.pi
    assert mlcd(positive, negative, scale, margin).numpy() == pytest.approx(np.log1p(push * pull + push + pull))
    assert mlc(positive, negative, scale, margin).numpy() == pytest.approx(np.log1p(push * pull))


def test_one_positive_no_margin_all_negatives_against_values_by_hand():
    positive, negative = torch.tensor([[0.5]], dtype=torch.float64), torch.tensor([[0.0, -0.5]], dtype=torch.float64)
    # scale 2: s_i = 1; s_j = 0, −1
    by_hand = math.log(1 + math.exp(-1)) + math.log(1 + 1 + math.exp(-1))
    assert mlcd(positive, negative, 2.0, 0.0).item() == pytest.approx(by_hand, abs=1e-12)
    assert by_hand == pytest.approx(1.175256, abs=1e-6)
    # softmax over (1, 0, −1): −log(e / (e + 1 + e⁻¹))
    assert mlc(positive, negative, 2.0, 0.0).item() == pytest.approx(0.407606, abs=1e-6)


def test_without_a_margin_it_is_zlpr():
    positive, negative = drawn_cosines(2)
    scores = 32.0 * torch.cat([positive, negative], dim=1)
    targets = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)], dim=1)
    assert torch.allclose(mlcd(positive, negative, 32.0, 0.0), zlpr_loss(scores, targets))


@pytest.mark.parametrize("loss", ["mlc", "single", "unicom"])
def test_with_one_positive_the_others_are_softmax_cross_entropy(loss):
    positive, negative = drawn_cosines(1, p=1)
    scores = 32.0 * np.concatenate([positive.numpy(), negative.numpy()], axis=1)
    found = losses(loss, positive, negative, 32.0, 0.0).numpy()
    assert found == pytest.approx(-log_softmax(scores, axis=1)[:, 0])


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    """The gradients are by rows and centres, through unit norms, margin and the mask of positives."""
    generator = torch.Generator().manual_seed(0)
    E, W = (torch.randn(n, 5, generator=generator, dtype=torch.float64, requires_grad=True) for n in (4, 9))
    own = own_centres(loss, torch.tensor([[0, 1], [1, 2], [3, 8], [5, 4]]))
    drawn = torch.tensor([0, 2, 4, 5, 6, 8])

    def total(E: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        unit = torch.nn.functional.normalize
        return losses(loss, *cosines(unit(E), unit(W), own, drawn), 8.0, 0.3).mean()

    assert torch.autograd.gradcheck(total, (E, W))


def test_the_margin_turns_the_angle_and_never_rises_again():
    angles = torch.linspace(0.01, math.pi - 0.01, 500, dtype=torch.float64)
    found = with_margin(angles.cos(), 0.3)
    before = angles < math.pi - 0.3
    assert torch.allclose(found[before], (angles[before] + 0.3).cos())
    assert (found.diff() < 0).all()
    assert with_margin(torch.tensor([0.2]), 0.0).item() == pytest.approx(0.2)
    ends = torch.tensor([1.0, -1.0], requires_grad=True)
    with_margin(ends, 0.3).sum().backward()
    assert ends.grad.isfinite().all()


@given(seed=st.integers(0, 1000), clusters=st.integers(5, 40), count=st.integers(1, 40))
@settings(max_examples=50)
def test_positives_are_never_drawn_as_negatives(seed, clusters, count):
    generator = torch.Generator().manual_seed(seed)
    E = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator))
    W = torch.nn.functional.normalize(torch.randn(clusters, 4, generator=generator))
    own = torch.stack([torch.randperm(clusters, generator=generator)[:3] for _ in E])
    drawn = draw(clusters, min(count, clusters), generator)
    assert len(set(drawn.tolist())) == min(count, clusters)
    positive, negative = cosines(E, W, own, drawn)
    every = (E @ W.T).numpy()
    for row in range(len(E)):
        mine = own[row].tolist()
        assert positive[row].tolist() == pytest.approx(every[row, mine], abs=1e-6)
        for column, centre in enumerate(drawn.tolist()):
            if centre in mine:
                assert negative[row, column] == -math.inf
            else:
                assert negative[row, column].item() == pytest.approx(every[row, centre], abs=1e-6)


def test_a_share_is_drawn_of_many_centres_and_all_of_few():
    assert Recipe().drawn(50_000) == 5_000
    assert Recipe().drawn(5_000) == 1000
    assert Recipe().drawn(300) == 300
    assert Recipe(least_negatives=1).drawn(300) == 30


@pytest.mark.parametrize("loss", ["mlcd", "mlc"])
def test_a_row_with_fewer_positives_has_the_loss_and_the_slopes_of_these_alone(loss):
    generator = torch.Generator().manual_seed(3)
    E, W = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (1, 7))
    drawn = torch.arange(7)  # the last centre too, which an index of −1 could mean

    def slopes(own: list[int]) -> tuple[float, torch.Tensor]:
        leaf = E.clone().requires_grad_(True)
        unit = torch.nn.functional.normalize
        loss_ = losses(loss, *cosines(unit(leaf), unit(W), torch.tensor([own]), drawn), 8.0, 0.3).sum()
        loss_.backward()
        return loss_.item(), leaf.grad

    (some, slope), (alone, expected) = slopes([2, 4, NONE, NONE]), slopes([2, 4])
    assert some == pytest.approx(alone, rel=1e-12)
    assert torch.allclose(slope, expected)


def test_which_centres_pull():
    nearest = torch.tensor([[4, 2, 0]])
    assert own_centres("mlcd", nearest).tolist() == own_centres("mlc", nearest).tolist() == [[4, 2, 0]]
    assert own_centres("single", nearest).tolist() == own_centres("unicom", nearest).tolist() == [[4]]
