"""Gradient descent for decoder heads: first weights, losses, and the folding of the scaling into the head."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import linear

from classifiers.errors import BadVectors
from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.fit.descent import Schedule, descend
from classifiers.fit.device import on_device
from classifiers.fit.multilabel.base import Targets, log_odds
from classifiers.fit.multilabel.decoder_layer import Parameters, decode, dropout, embed
from classifiers.fit.multilabel.losses import asymmetric_loss, clip_loss
from classifiers.fit.resident import CPU, Rows, moved

MOST_GROUPS = 100
"""Maximum number of group queries, as in the paper."""
FIRST_TEMPERATURE, HIGHEST_SCALE = 0.07, 100.0
"""First temperature and highest scale of L_clip, as in CLIP (arXiv 2103.00020)."""
FROZEN = ("queries", "text")
ALIGNMENT = ("align_image", "align_text", "align_scale")
ROWS_AT_ONCE = 64
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderPlan:
    """The hyper-parameters of a decoder's training; `DecoderClassifier` explains each."""

    queries: Literal["text", "groups"]
    width: int
    heads: int
    hidden: int
    dropout: float
    alpha: float
    beta: float
    seed: int
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Scaling:
    """The map x → (x - mean) / deviation. Each column gets mean 0; all values together get variance 1."""

    mean: NDArray[np.float32]
    deviation: float

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Self:
        """Return the scaling of rows (n, …, d), read a few at a time. Raises BadVectors for NaN or infinity."""
        total = np.zeros(rows.shape[-1])
        square = 0.0
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE].reshape(-1, rows.shape[-1]).astype(np.float64)
            if not np.isfinite(some).all():
                raise BadVectors(
                    f"one of rows {first} to {first + ROWS_AT_ONCE - 1} holds NaN or infinity; leave it out"
                )
            total += some.sum(axis=0)
            square += float(np.vdot(some, some))
        count = rows.size // rows.shape[-1]
        mean = total / count
        variance = max(0.0, square / rows.size - float(mean @ mean) / len(mean))
        return cls(mean.astype(np.float32), math.sqrt(variance) or 1.0)

    def on(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Return the map for tensors on a device; its results are float32."""
        mean = moved(torch.from_numpy(self.mean), device)
        # A tensor, because a card would multiply by the inverse of a number, which rounds differently.
        deviation = moved(torch.tensor([self.deviation], dtype=torch.float32), device)
        return lambda rows: (rows.float() - mean) / deviation

    def __call__(self, rows: NDArray[np.float32]) -> Tensor:
        """Return the scaled rows (n, d) on the CPU."""
        return self.on(CPU)(torch.from_numpy(rows))

    def folded(self, W: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (W, b) for unscaled rows x, from (W, b) for scaled rows."""
        W = W / np.float32(self.deviation)
        return W, b - W @ self.mean


def train(
    plan: DecoderPlan,
    tokens: NDArray[Any],
    labels: NDArray[np.bool_],
    text: NDArray[np.float32] | None,
    targets: Targets | None,
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[Arrays, int, tuple[float, ...]]:
    """Return the learned arrays of a `DecoderHead`, the number of the epoch they come from, and the judge's figures.

    Training runs on a CUDA card if there is one and the work is worth it, see `classifiers.fit.device`.

    Args:
        tokens: (n, P, F).
        labels: the labels of each row, (n, L).
        text: text vectors of norm 1, (L, t), or None.
        targets: what L_clip aligns rows to; None for no L_clip.
        split: numbers of the training rows, and of the held-out rows.

    Raises BadVectors for tokens that are not finite, NotTrainable when the loss is not finite.
    """
    scaling = Scaling.of(tokens)
    operations = len(split[0]) * plan.schedule.epochs * operations_of_a_row(plan, tokens.shape[1:], labels.shape[1])
    return on_device(
        lambda device: train_on(torch.device(device), plan, scaling, tokens, labels, text, targets, split),
        operations,
    )


def operations_of_a_row(plan: DecoderPlan, shape: tuple[int, ...], labels: int) -> float:
    """Return about how many floating-point operations a step takes for a row of tokens (P, F), forward and back."""
    (P, F), D = shape, plan.width
    queries = labels if plan.queries == "text" else min(MOST_GROUPS, labels)
    return 6.0 * (P * D * (F + 2 * D) + queries * D * (2 * P + D + 2 * plan.hidden))


def train_on(
    device: torch.device,
    plan: DecoderPlan,
    scaling: Scaling,
    tokens: NDArray[Any],
    labels: NDArray[np.bool_],
    text: NDArray[np.float32] | None,
    targets: Targets | None,
    split: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> tuple[Arrays, int, tuple[float, ...]]:
    """Return what `train` does, computed on the device. `scaling` is that of the tokens."""
    learning, held = split
    random = Generator().manual_seed(plan.seed)
    images, there, scaled = Rows(tokens, device), Rows(labels, device), scaling.on(device)
    scale_text = None if text is None or plan.queries == "groups" else Scaling.of(text)
    p = start(plan, tokens.shape[2], labels[learning], random)
    if text is not None and scale_text is not None:
        p |= text_queries(plan.width, scale_text(text), labels[learning], random)
    align = None if targets is None else alignment(p, targets, plan.width, random, device)
    p.update({name: moved(tensor, device) for name, tensor in p.items()})  # `align` reads p too
    drop = dropout(plan.dropout, random)
    learned = {name: tensor for name, tensor in p.items() if name not in FROZEN}

    def loss(drawn: Tensor) -> Tensor:
        rows = learning[drawn.numpy()]
        E = embed(p, scaled(images[rows]))
        value = plan.beta * asymmetric_loss(decode(p, E, plan.heads, drop), there[rows]).mean()
        return value if align is None else value + plan.alpha * align(E, rows)

    @torch.no_grad()
    def judge(average: Parameters) -> float:
        parts = [held[first : first + ROWS_AT_ONCE] for first in range(0, len(held), ROWS_AT_ONCE)]
        scored = [decode(p | average, embed(average, scaled(images[rows])), plan.heads) for rows in parts]
        return mean_average_precision(torch.cat(scored).cpu().numpy(), labels[held])

    found = descend(learned, loss, len(learning), plan.schedule, random, judge if len(held) else None)
    whole = p | found.parameters
    kept = {name: tensor.detach().cpu().numpy() for name, tensor in whole.items() if name not in ALIGNMENT}
    kept["embed_W"], kept["embed_b"] = scaling.folded(kept["embed_W"], kept["embed_b"])
    if text is not None and scale_text is not None:
        kept["text_W"], kept["text_b"] = scale_text.folded(kept["text_W"], kept["text_b"])
        kept["text"] = text
    return kept, found.epoch, found.judged


def draw(random: Generator, *shape: int) -> Tensor:
    """Draw a Xavier-normal matrix."""
    return torch.randn(*shape, generator=random) * math.sqrt(2.0 / (shape[-1] + shape[-2]))


def start(plan: DecoderPlan, F: int, labels: NDArray[np.bool_], random: Generator) -> Parameters:
    """Return the first weights: Xavier-normal matrices and biases 0; group queries' output bias is the log odds."""
    D, H, L = plan.width, plan.hidden, labels.shape[1]
    p = {"embed_W": draw(random, D, F), "embed_b": torch.zeros(D)}
    p |= {"ffn1_W": draw(random, H, D), "ffn1_b": torch.zeros(H)}
    p |= {"ffn2_W": draw(random, D, H), "ffn2_b": torch.zeros(D)}
    p |= {f"{name}_W": draw(random, D, D) for name in ("query", "key", "value", "attend")}
    p |= {f"{name}_b": torch.zeros(D) for name in ("query", "attend")}
    for name in ("norm1", "norm2", "norm3"):
        p |= {f"{name}_W": torch.ones(D), f"{name}_b": torch.zeros(D)}
    if plan.queries == "text":
        return p
    Q = min(MOST_GROUPS, L)
    bias = torch.from_numpy(log_odds(np.count_nonzero(labels, axis=0), len(labels)).astype(np.float32))
    return p | {"queries": torch.randn(Q, D, generator=random), "group_W": draw(random, Q, D, -(-L // Q)), "bias": bias}


def text_queries(D: int, text: Tensor, labels: NDArray[np.bool_], random: Generator) -> Parameters:
    """Return the first weights of queries from text (L, t), with one output; its bias is the log odds of all labels."""
    prior = float(log_odds(np.array([np.count_nonzero(labels)]), labels.size)[0])
    p = {"text": text, "text_W": draw(random, D, text.shape[1]), "text_b": torch.zeros(D)}
    return p | {"class_w": draw(random, 1, D)[0], "bias": torch.tensor([prior])}


def alignment(
    p: Parameters, targets: Targets, D: int, random: Generator, device: torch.device
) -> Callable[[Tensor, NDArray[np.int64]], Tensor]:
    """Return L_clip as a function of embedded tokens on the device and their row numbers.

    Adds the learned weights of L_clip to `p`, on the CPU.
    """
    sentences, which = targets
    texts = moved(Scaling.of(sentences)(sentences), device)
    p["align_image"], p["align_text"] = draw(random, D, D), draw(random, D, texts.shape[1])
    p["align_scale"] = torch.tensor(-math.log(FIRST_TEMPERATURE))

    def clip(E: Tensor, rows: NDArray[np.int64]) -> Tensor:
        paired = np.flatnonzero(which[rows] >= 0)  # on the host, because a mask on a card has to be waited for
        if not len(paired):
            return torch.zeros((), device=device)
        some, sets = (moved(torch.from_numpy(each), device) for each in (paired, which[rows][paired]))
        images = linear(E.mean(dim=1)[some], p["align_image"])
        scale = p["align_scale"].clamp(max=math.log(HIGHEST_SCALE)).exp()
        return clip_loss(images, linear(texts[sets], p["align_text"]), scale, sets[:, None] == sets)

    return clip
