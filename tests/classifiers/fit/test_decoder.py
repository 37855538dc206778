"""The decoder: its layer against torch's own modules, its symmetries, its texts and its training."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from classifiers.errors import BadParameter, BadVectors, NotTrainable
from classifiers.evaluation.label_figures import mean_average_precision
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel import decoder_training
from classifiers.fit.multilabel.base import hold_out, label_sets, mean_text
from classifiers.fit.multilabel.decoder import DecoderClassifier
from classifiers.fit.multilabel.decoder_layer import attend, decode, embed
from classifiers.fit.multilabel.decoder_training import Scaling
from classifiers.heads.multilabel import decoder as module
from classifiers.heads.multilabel.decoder import DecoderHead
from classifiers.heads.text import check_text

N, P, F, L = 160, 5, 6, 7
NAMES = [f"label {k}" for k in range(L)]
SMALL = {"width": 16, "heads": 4, "hidden": 24, "epochs": 30, "batch": 40, "learning_rate": 1e-2}
RNG = np.random.default_rng(0)
SIGNS = RNG.normal(size=(L, F)) * 2  # each label puts its sign on one of the tokens
Y = RNG.random((N, L)) < 0.25
Y[:, -1] = False  # a label that no row has
X = RNG.normal(size=(N, P, F)) * 0.3 + 1.0
for row, label in zip(*np.nonzero(Y), strict=True):
    X[row, RNG.integers(P)] += SIGNS[label]
X = X.astype(np.float32)
FLAT = X.reshape(N, -1)


def fitted(X=X, Y=Y, text=SIGNS, **params):
    return DecoderClassifier(**{**SMALL, **params}).fit(X, Y, NAMES, text=text)


@pytest.fixture(scope="module", params=["text", "groups"])
def made(request):
    return fitted(queries=request.param)


@pytest.fixture(scope="module")
def head(made):
    return made.head_


@pytest.fixture(scope="module")
def text_head():
    head = fitted(epochs=10).head_
    return head.with_thresholds(tune_thresholds(head.scores(FLAT), Y))


def with_peak(do):
    """Return the result of a call, and the peak of NumPy's and Python's memory in bytes."""
    tracemalloc.start()
    try:
        return do(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def tensors(head):
    return {name: torch.tensor(array) for name, array in head.arrays().items()}


class Reference(nn.Module):
    """ML-Decoder's layer, built from torch's own modules as the authors do, with the weights of a head."""

    def __init__(self, head):
        super().__init__()
        p, D = tensors(head), len(head.arrays()["query_W"])
        self.p, self.text = p, head.text is not None
        self.embed = self.linear(p["embed_W"], p["embed_b"])
        self.attention = nn.MultiheadAttention(D, head.heads, batch_first=True)
        zero = torch.zeros(D)
        state = {
            "in_proj_weight": torch.cat([p["query_W"], p["key_W"], p["value_W"]]),
            "in_proj_bias": torch.cat([p["query_b"], zero, zero]),
            "out_proj.weight": p["attend_W"],
            "out_proj.bias": p["attend_b"],
        }
        self.attention.load_state_dict(state)
        self.ffn1, self.ffn2 = (self.linear(p[f"ffn{i}_W"], p[f"ffn{i}_b"]) for i in (1, 2))
        self.norms = [nn.LayerNorm(D) for _ in range(3)]
        for i, norm in enumerate(self.norms, start=1):
            norm.load_state_dict({"weight": p[f"norm{i}_W"], "bias": p[f"norm{i}_b"]})

    @staticmethod
    def linear(W, b):
        layer = nn.Linear(W.shape[1], W.shape[0])
        layer.load_state_dict({"weight": W, "bias": b})
        return layer

    def forward(self, tokens):
        p = self.p
        E = self.embed(tokens).relu()
        q = self.linear(p["text_W"], p["text_b"])(p["text"]).relu() if self.text else p["queries"]
        q = q.expand(len(E), -1, -1)
        q = self.norms[0](q + q)
        q = self.norms[1](q + self.attention(q, E, E)[0])
        q = self.norms[2](q + self.ffn2(self.ffn1(q).relu()))
        if self.text:
            return q @ p["class_w"] + p["bias"]
        columns = [q[:, i] @ p["group_W"][i] for i in range(len(p["group_W"]))]
        return torch.cat(columns, dim=1)[:, : len(p["bias"])] + p["bias"]


def test_the_head_is_the_layer_of_torchs_own_modules(head):
    with torch.no_grad():
        theirs = Reference(head)(torch.tensor(X)).numpy()
    np.testing.assert_allclose(head.scores(FLAT), theirs, rtol=1e-4, atol=1e-4)


def test_the_layer_that_trains_is_the_head(head):
    p = tensors(head)
    scores = decode(p, embed(p, torch.tensor(X)), head.heads)
    np.testing.assert_allclose(head.scores(FLAT), scores.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("labels", [1, 2, 100, 101, 250])
def test_groups_share_any_number_of_labels(labels):
    some = RNG.random((20, labels)) < 0.3
    head = DecoderClassifier(**{**SMALL, "epochs": 1}, queries="groups").fit(X[:20], some).head_
    with torch.no_grad():
        theirs = Reference(head)(torch.tensor(X[:20])).numpy()
    assert head.arrays()["group_W"].shape[::2] == (min(100, labels), math.ceil(labels / 100))
    np.testing.assert_allclose(head.scores(FLAT[:20]), theirs, rtol=1e-4, atol=1e-4)


def test_many_pictures_are_scored_a_few_at_a_time_with_the_same_scores(head, monkeypatch):
    at_once, whole = with_peak(lambda: head.scores(FLAT))
    monkeypatch.setattr(module, "CHUNK_CELLS", 5000)
    in_parts, peak = with_peak(lambda: head.scores(FLAT))
    np.testing.assert_allclose(in_parts, at_once, rtol=1e-4, atol=1e-4)
    assert peak < 4 * 5000 + 100_000 < whole


def test_the_order_of_tokens_does_not_matter(head):
    shuffled = X[:, RNG.permutation(P)].reshape(N, -1)
    np.testing.assert_allclose(head.scores(shuffled), head.scores(FLAT), rtol=1e-4, atol=1e-4)


def test_over_one_token_attention_is_the_same_for_every_query_which_is_why_it_is_refused(text_head):
    p = tensors(text_head)
    q = torch.tensor(RNG.normal(size=(L, 16))).float()
    for count, least, most in ((1, 0, 1e-6), (P, 0.05, np.inf)):
        E = torch.tensor(RNG.normal(size=(3, count, 16))).float()
        spread = attend(p, q, E, text_head.heads, lambda x: x).std(dim=1).max().item()
        assert least <= spread < most
    with pytest.raises(
        BadVectors, match=r"one token per image.*softmax of one number, always 1.*labelwise or bilinear"
    ):
        fitted(X[:, :1])
    with pytest.raises(BadVectors, match="expected tokens"):
        fitted(FLAT)
    meta = text_head.meta()
    with pytest.raises(ValueError, match="one token per image"):
        DecoderHead.from_arrays(text_head.arrays(), {**meta, "settings": {**meta["settings"], "tokens": [1, F]}})
    with pytest.raises(ValueError, match="cannot be shared among 5 heads"):
        DecoderHead.from_arrays(text_head.arrays(), {**meta, "settings": {**meta["settings"], "heads": 5}})


def test_it_learns_what_it_was_not_shown(made):
    held = hold_out(Y, 0.1, seed=0)[1]
    scores = made.decision_function(X[held])
    assert mean_average_precision(scores, Y[held]) == pytest.approx(max(made.judged_), abs=1e-5)
    assert max(made.judged_) == made.judged_[made.epoch_] > made.judged_[0] + 0.3
    assert (scores[:, -1] < 0).mean() > 0.9


def test_other_labels_make_the_head_that_their_texts_would_have_made(text_head):
    names, text = ["new", NAMES[2]], np.stack([SIGNS[0] + SIGNS[1], SIGNS[2]])
    swapped = text_head.with_labels(names, text)
    arrays = {**text_head.arrays(), "text": check_text(text, 2), **text_head.thresholds.over(NAMES, names).arrays()}
    anew = DecoderHead.from_arrays(arrays, {**text_head.meta(), "classes": names})
    np.testing.assert_array_equal(swapped.scores(FLAT), anew.scores(FLAT))
    np.testing.assert_allclose(swapped.scores(FLAT)[:, 1], text_head.scores(FLAT)[:, 2], rtol=1e-4, atol=1e-4)
    order = RNG.permutation(L)
    moved = text_head.with_labels([NAMES[k] for k in order], 3 * SIGNS[order])
    np.testing.assert_allclose(moved.scores(FLAT), text_head.scores(FLAT)[:, order], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(moved.given(FLAT), text_head.given(FLAT)[:, order])


def test_a_label_that_was_never_shown_is_found_by_its_text():
    """With enough labels to learn how texts relate to tokens, a new text finds its tokens too."""
    rng, labels, unseen = np.random.default_rng(1), 60, 10
    signs = rng.normal(size=(labels, F))
    truth = rng.random((600, labels)) < 1.5 / labels
    tokens = rng.normal(size=(600, P, F)) * 0.1
    for row, label in zip(*np.nonzero(truth), strict=True):
        tokens[row, rng.integers(P)] += 2 * signs[label]
    made = DecoderClassifier(width=32, heads=4, hidden=32, epochs=30, learning_rate=1e-2)
    made.fit(tokens[:500], truth[:500, unseen:], text=signs[unseen:])
    scores = made.head_.with_labels([f"new {k}" for k in range(unseen)], signs[:unseen]).scores(
        tokens[500:].reshape(100, -1)
    )
    chance = truth[500:, :unseen].mean()
    assert mean_average_precision(scores, truth[500:, :unseen]) > 10 * chance


def test_a_head_with_groups_knows_its_own_labels_only():
    with pytest.raises(ValueError, match="knows only its 7 labels"):
        fitted(queries="groups", epochs=1).head_.with_labels(NAMES, SIGNS)


def test_the_same_seed_gives_the_same_head_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    once, again, other = (fitted(epochs=3, seed=seed).head_.scores(FLAT) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    assert torch.equal(before, torch.get_rng_state())


def test_half_precision_and_mapped_tokens_train_as_they_are(tmp_path):
    half = X.astype(np.float16)
    np.save(tmp_path / "tokens.npy", half)
    mapped = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    found = [fitted(tokens, epochs=3).head_.scores(FLAT) for tokens in (mapped, half, half.astype(np.float64))]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_training_never_holds_all_tokens_in_single_precision():
    tokens = RNG.normal(size=(2000, 8, 64)).astype(np.float16)
    labels = tokens[:, 0, :4] > 0
    made = DecoderClassifier(**{**SMALL, "epochs": 1}, queries="groups")
    made.fit(tokens[:20], labels[:20])  # torch's own imports
    _, peak = with_peak(lambda: made.fit(tokens, labels))
    assert peak < tokens.nbytes / 2


def test_group_queries_stay_as_they_were_drawn():
    once, longer = (fitted(queries="groups", epochs=epochs).head_.arrays() for epochs in (1, 4))
    np.testing.assert_array_equal(once["queries"], longer["queries"])
    assert not np.array_equal(once["group_W"], longer["group_W"])


def test_the_scale_and_origin_of_tokens_do_not_matter():
    scaled = fitted(1000 * X + 500, epochs=3).head_.scores(1000 * FLAT + 500)
    np.testing.assert_allclose(scaled, fitted(epochs=3).head_.scores(FLAT), atol=0.02)


def test_scaling_folds_into_weights():
    rows = RNG.normal(size=(130, 3, 4)) * 5 + 2
    scaling = Scaling.of(rows)
    z = scaling(rows).numpy()
    np.testing.assert_allclose(z.mean(axis=(0, 1)), 0, atol=1e-6)
    assert z.var() == pytest.approx(1, abs=1e-5)
    W, b = RNG.normal(size=(2, 4)).astype(np.float32), RNG.normal(size=2).astype(np.float32)
    folded, constant = scaling.folded(W, b)
    np.testing.assert_allclose(rows @ folded.T + constant, z @ W.T + b, atol=1e-4)
    assert Scaling.of(np.ones((3, 2), np.float16)).deviation == 1
    bad = rows.copy()
    bad[70, 1, 2] = np.inf
    with pytest.raises(BadVectors, match="rows 64 to 127"):
        Scaling.of(bad)


def test_both_losses_reach_the_weights_and_alpha_0_leaves_the_second_out(monkeypatch):
    asked = []
    real = decoder_training.clip_loss
    monkeypatch.setattr(decoder_training, "clip_loss", lambda *given: asked.append(given) or real(*given))
    without = fitted(epochs=2, alpha=0.0).head_
    assert not asked
    with_clip = fitted(epochs=2, alpha=1.0).head_
    assert len(asked) == 2 * 4
    assert not np.array_equal(without.arrays()["embed_W"], with_clip.arrays()["embed_W"])
    assert set(with_clip.arrays()) == set(without.arrays())
    images, texts, scale, same = asked[-1]
    assert images.requires_grad
    assert texts.requires_grad
    assert scale.item() != pytest.approx(1 / 0.07)
    assert (same == same.T).all()
    assert same.diagonal().all()


def test_the_contrastive_loss_takes_one_text_for_each_set_of_the_labels_given():
    sets, _ = label_sets(Y)
    means = mean_text(sets, check_text(SIGNS, L))

    def scores(set_text):
        made = DecoderClassifier(**{**SMALL, "epochs": 2}).fit(X, Y, NAMES, text=SIGNS, set_text=set_text)
        return made.decision_function(X)

    np.testing.assert_allclose(scores(None), scores(3 * means / np.linalg.norm(means, axis=1)[:, None]), atol=0.05)
    assert not np.allclose(scores(None), scores(RNG.normal(size=(len(sets), 3))), atol=0.05)


def test_texts_of_sets_with_labels_that_are_kept_unseen_are_refused():
    """Sentences with all tags of an image would leak the labels that are kept for zero-shot tests."""
    every, _ = label_sets(Y)
    seen, _ = label_sets(Y[:, :3])
    with pytest.raises(BadVectors, match=rf"lists {len(seen)} sets; .* from these labels alone"):
        DecoderClassifier(**SMALL).fit(X, Y[:, :3], text=SIGNS[:3], set_text=RNG.normal(size=(len(every), F)))


def test_the_contrastive_loss_takes_the_text_of_each_row_instead():
    """With the text of its set of labels for every row, a row's own text changes nothing."""
    sets, which = label_sets(Y)
    texts = RNG.normal(size=(len(sets), 3)).astype(np.float32)
    rows = np.where(which[:, None] >= 0, texts[which], 0)

    def scores(**given):
        made = DecoderClassifier(**{**SMALL, "epochs": 2}).fit(X, Y, NAMES, text=SIGNS, **given)
        return made.decision_function(X)

    np.testing.assert_allclose(scores(row_text=rows), scores(set_text=texts), atol=0.05)
    assert not np.allclose(scores(row_text=rows), scores(), atol=0.05)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"row_text": np.ones((3, 3))}, "there are .* rows; make one vector for each"),
        ({"row_text": np.zeros((len(X), 3))}, "zero in every row"),
        ({"row_text": np.ones((len(X), 3)), "set_text": np.ones((9, 3))}, "give row_text or set_text"),
    ],
)
def test_texts_of_rows_that_do_not_fit_are_refused(given, reason):
    with pytest.raises(BadVectors, match=reason):
        DecoderClassifier(**SMALL).fit(X, Y, NAMES, text=SIGNS, **given)


def test_rows_without_labels_take_no_part_in_the_contrastive_loss():
    nothing = np.zeros_like(Y)
    nothing[0, 0] = True
    assert np.isfinite(fitted(Y=nothing, epochs=2).decision_function(X)).all()


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"queries": "words"}, "one of text, groups"),
        ({"width": 18}, "multiple of heads"),
        ({"hidden": 0}, "hidden=0"),
        ({"dropout": 1.0}, "dropout"),
        ({"alpha": -1.0}, "alpha must be at least 0"),
        ({"beta": 0.0}, "beta above 0"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_parameters_that_are_not_allowed_are_named(params, reason):
    with pytest.raises(BadParameter, match=reason):
        fitted(**params)


def test_what_cannot_be_learned_from_is_said():
    with pytest.raises(BadParameter, match="queries='groups'"):
        fitted(text=None)
    with pytest.raises(BadVectors, match="float type"):
        fitted(X.astype(np.int64))
    with pytest.raises(NotTrainable, match="no rows"):
        fitted(X[:0], Y[:0])
    with pytest.raises(NotTrainable, match="smaller learning_rate"):
        fitted(learning_rate=1e30)
