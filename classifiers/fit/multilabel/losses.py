"""Losses for rows with any number of labels, and the contrastive loss of images and texts, as pure functions.

All losses compute in float32 or float64. In half precision, logarithms and powers would be NaN for confident scores.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, normalize


def widened(x: Tensor) -> Tensor:
    """Return x in float32; float64 stays float64."""
    return x if x.dtype == torch.float64 else x.float()


def asymmetric_loss(
    scores: Tensor,
    targets: Tensor,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 0.0,
    margin: float = 0.05,
) -> Tensor:
    """Return the asymmetric loss of every row, summed over its labels: (n,).

    Ridnik et al. 2021 (arXiv 2009.14119): with p = sigmoid(score) and p_m = max(p - margin, 0), a label that the row
    has costs -(1 - p)^γ₊ log p, any other label -p_m^γ₋ log(1 - p_m). The gradient treats the factors
    before the logarithms as constants, as in the authors' training runs. With γ₊ = γ₋ = margin = 0 this is binary
    cross-entropy.

    The authors clamp the logarithms at 1e-8, where the gradient vanishes; log-sigmoid needs no clamp.

    Args:
        scores: (n, L), before the sigmoid.
        targets: (n, L), 1 if the row has the label, else 0.
    """
    scores = widened(scores)
    targets = targets.to(scores.dtype)
    absent = torch.sigmoid(-scores)
    if margin > 0:
        absent = (absent + margin).clamp(max=1.0)
        log_absent = absent.log()
    else:
        log_absent = logsigmoid(-scores)
    with torch.no_grad():
        weight_positive = torch.sigmoid(-scores).pow(gamma_positive)
        weight_negative = (1.0 - absent).pow(gamma_negative)
    costs = targets * weight_positive * logsigmoid(scores) + (1.0 - targets) * weight_negative * log_absent
    return -costs.sum(dim=1)


def zlpr_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the zero-bounded log-sum-exp pairwise rank loss of every row, (n,).

    Su et al. 2022 (arXiv 2208.02955): log(1 + Σ_present e^-s) + log(1 + Σ_absent e^s). Labels compete within a row:
    present labels should score above zero, absent ones below. Arguments as for `asymmetric_loss`.
    """
    scores, there = widened(scores), targets > 0
    zero = scores.new_zeros(len(scores), 1)
    present = torch.cat([zero, (-scores).masked_fill(~there, -torch.inf)], dim=1)
    absent = torch.cat([zero, scores.masked_fill(there, -torch.inf)], dim=1)
    return present.logsumexp(dim=1) + absent.logsumexp(dim=1)


def clip_loss(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor | None = None) -> Tensor:
    """Return the symmetric contrastive loss of n images and their n texts, a scalar.

    Source: CLIP (Radford et al. 2021, arXiv 2103.00020).

    Args:
        images, texts: (n, d), of any norm.
        scale: multiplies the cosines, a scalar.
        same: (n, n) bool, true for two images with equal texts. Such images share the target evenly; otherwise each
            would push the equal texts of the others away. None: all texts differ.
    """
    cosines = normalize(widened(images), dim=1) @ normalize(widened(texts), dim=1).T
    shared = (
        torch.eye(len(cosines), dtype=cosines.dtype, device=cosines.device) if same is None else same.to(cosines.dtype)
    )
    target = shared / shared.sum(dim=1, keepdim=True)
    return 0.5 * (cross_entropy(scale * cosines, target) + cross_entropy(scale * cosines.T, target))
