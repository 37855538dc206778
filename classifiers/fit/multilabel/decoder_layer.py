"""The decoder of `classifiers.heads.multilabel.decoder` in torch, because training needs gradients. The arrays have the
same names.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor
from torch.nn.functional import layer_norm, linear, relu

from classifiers.fit.resident import moved
from classifiers.heads.multilabel.decoder import LAYER_NORM_EPSILON

Parameters = dict[str, Tensor]
Drop = Callable[[Tensor], Tensor]


def keep(x: Tensor) -> Tensor:
    """Return x unchanged: no dropout."""
    return x


def dropout(share: float, random: Generator) -> Drop:
    """Return a function that sets a random share of the values to zero and scales up the others.

    All queries of an image lose the same values, like the steps of a sequence in arXiv 1512.05287: drawing anew for
    each of hundreds of queries would double the time of a step. The values are drawn on the CPU, whatever the device
    of x, so that all devices drop the same ones; a card computes meanwhile.
    """

    def drop(x: Tensor) -> Tensor:
        kept = torch.empty(*x.shape[:-2], 1, x.shape[-1], dtype=x.dtype).bernoulli_(1.0 - share, generator=random)
        return x * moved(kept / (1.0 - share), x.device)

    return drop if share > 0 else keep


def embed(p: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Return the embedded tokens E (n, P, D) of tokens (n, P, F)."""
    return relu(linear(tokens, p["embed_W"], p["embed_b"]))


def decode(p: Mapping[str, Tensor], E: Tensor, heads: int, drop: Drop = keep) -> Tensor:
    """Return scores (n, L) of embedded tokens E (n, P, D). `p` has the arrays of `DecoderHead` without thresholds."""
    queries = relu(linear(p["text"], p["text_W"], p["text_b"])) if "text" in p else p["queries"]
    q = norm(p, "norm1", queries + drop(queries))
    q = norm(p, "norm2", q + drop(linear(attend(p, q, E, heads, drop), p["attend_W"], p["attend_b"])))
    hidden = drop(relu(linear(q, p["ffn1_W"], p["ffn1_b"])))
    q = norm(p, "norm3", q + drop(linear(hidden, p["ffn2_W"], p["ffn2_b"])))
    if "text" in p:
        return q @ p["class_w"] + p["bias"]
    grouped = torch.einsum("nqd,qdg->nqg", q, p["group_W"])
    return grouped.flatten(1)[:, : len(p["bias"])] + p["bias"]


def attend(p: Mapping[str, Tensor], q: Tensor, E: Tensor, heads: int, drop: Drop) -> Tensor:
    """Return the multi-head attention of q (Q, D) over E (n, P, D), before the output map: (n, Q, D)."""
    asked, keys, values = (
        x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)
        for x in (linear(q, p["query_W"], p["query_b"])[None], linear(E, p["key_W"]), linear(E, p["value_W"]))
    )
    logits = asked @ keys.transpose(-1, -2) / math.sqrt(keys.shape[-1])
    gathered: Tensor = drop(logits.softmax(dim=-1)) @ values
    return gathered.transpose(1, 2).flatten(2)


def norm(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Return x after layer normalisation with the weights and bias called `name`."""
    return layer_norm(x, list(x.shape[-1:]), p[f"{name}_W"], p[f"{name}_b"], LAYER_NORM_EPSILON)
