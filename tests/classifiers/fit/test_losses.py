"""Losses for any number of labels: hand values, other formulas, and analytic gradients."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import binary_cross_entropy_with_logits

from classifiers.fit.multilabel.losses import asymmetric_loss, clip_loss, zlpr_loss

GENERATOR = torch.Generator().manual_seed(0)
SCORES = torch.randn(9, 7, generator=GENERATOR, dtype=torch.float64) * 3
TARGETS = (torch.rand(9, 7, generator=GENERATOR) < 0.3).double()


def test_asymmetric_loss_without_focus_or_margin_is_cross_entropy_summed_over_labels():
    plain = asymmetric_loss(SCORES, TARGETS, gamma_negative=0, gamma_positive=0, margin=0)
    torch.testing.assert_close(plain, binary_cross_entropy_with_logits(SCORES, TARGETS, reduction="none").sum(1))


@pytest.mark.parametrize(("negative", "positive", "margin"), [(4, 0, 0.05), (2, 1, 0.05), (4, 1, 0.2), (1, 3, 0.0)])
def test_asymmetric_loss_is_the_papers_formula_with_constant_focus(negative, positive, margin):
    s = SCORES.clone().requires_grad_()
    found = asymmetric_loss(s, TARGETS, gamma_negative=negative, gamma_positive=positive, margin=margin)
    found.sum().backward()
    p = torch.sigmoid(SCORES)
    shifted = (p - margin).clamp(min=0)
    by_hand = -(TARGETS * (1 - p) ** positive * p.log() + (1 - TARGETS) * shifted**negative * (1 - shifted).log())
    torch.testing.assert_close(found, by_hand.sum(1))
    pull = -((1 - p) ** (positive + 1))  # d log p / ds = 1 - p
    push = shifted**negative * p * (1 - p) / (1 - shifted) * (p > margin)  # d p / ds = p (1 - p)
    torch.testing.assert_close(s.grad, torch.where(TARGETS > 0, pull, push))


def test_an_absent_label_below_the_margin_costs_nothing():
    s = torch.tensor([[-3.0, -8.0]], dtype=torch.float64, requires_grad=True)
    loss = asymmetric_loss(s, torch.zeros(1, 2))
    loss.sum().backward()
    assert loss.item() == 0
    assert not s.grad.any()


def test_zlpr_by_hand_and_its_gradient_by_finite_differences():
    s, t = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[1.0, 0.0, 0.0]])
    e = torch.exp
    by_hand = torch.log(1 + e(-s[0, 0])) + torch.log(1 + e(s[0, 1]) + e(s[0, 2]))
    torch.testing.assert_close(zlpr_loss(s, t), by_hand[None])
    assert gradcheck(lambda x: zlpr_loss(x, TARGETS), SCORES.clone().requires_grad_())


@pytest.mark.parametrize("loss", [asymmetric_loss, zlpr_loss])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_scores_stay_finite_in_any_precision(loss, dtype):
    far = torch.tensor([[300.0, -300.0, 300.0, -300.0]], dtype=dtype, requires_grad=True)
    value = loss(far, torch.tensor([[1, 1, 0, 0]]))
    value.sum().backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value).all()
    assert torch.isfinite(far.grad).all()


def test_a_row_without_labels_and_one_with_all_have_a_loss():
    for targets in (torch.zeros(2, 7), torch.ones(2, 7)):
        for loss in (asymmetric_loss, zlpr_loss):
            assert torch.isfinite(loss(SCORES[:2], targets)).all()


def test_contrastive_loss_of_own_texts_is_that_of_clip():
    images, texts = SCORES[:4, :5], SCORES[4:8, :5]
    logits = 7.0 * torch.nn.functional.cosine_similarity(images[:, None], texts[None], dim=2)
    own = torch.arange(4)
    entropy = torch.nn.functional.cross_entropy
    by_hand = (entropy(logits, own) + entropy(logits.T, own)) / 2
    torch.testing.assert_close(clip_loss(images, texts, torch.tensor(7.0)), by_hand)


def test_equal_texts_share_the_target():
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    apart = clip_loss(images, images, torch.tensor(60.0))
    shared = clip_loss(images, images, torch.tensor(60.0), same)
    torch.testing.assert_close(shared, torch.tensor(2.0).log() * 2 / 3)  # the least that three such rows can have
    torch.testing.assert_close(apart, shared)
    x = images.double().requires_grad_()
    clip_loss(x, images.double(), torch.tensor(1.0), same).backward()
    assert torch.equal(x.grad[0], x.grad[1])
    texts = SCORES[:3, :2]
    assert gradcheck(lambda x: clip_loss(x, texts, torch.tensor(2.0), same), SCORES[3:6, :2].clone().requires_grad_())
