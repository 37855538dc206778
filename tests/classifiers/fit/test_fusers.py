"""Learning of the fusion rules: weights compared with a grid, the gate with torch, thresholds with all others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.evaluation.reports.fusion import cascade_curve
from classifiers.fit.fusion import gate as training
from classifiers.fit.fusion.fusers import (
    choose_rule,
    cross_entropy,
    fit_cascade,
    fit_temperatures,
    fit_weights,
    measure_subsets,
)
from classifiers.fit.fusion.gate import adam_step, fit_gate, gated_loss, gradient
from classifiers.fit.fusion.search import search_temperatures
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.held_out import HeldOut, Learner, stratified_folds
from classifiers.heads.fusion.cascade import NEVER
from classifiers.heads.fusion.combiner import Combiner
from classifiers.heads.fusion.gate import Gate, inverse_softplus
from classifiers.heads.fusion.head import position
from classifiers.heads.fusion.rules import filled, log_softmax, weighted

GAUSSIAN = Learner(GaussianClassifier())


def members(seed=0, n=400, strengths=(1.0, 2.0, 0.2), n_classes=4):
    """Return log-probabilities (n, B, K) of members that see the truth through noise, and codes (n,)."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, n_classes, n)
    truth = np.eye(n_classes)[codes]
    scores = np.stack([strength * truth + 0.8 * rng.normal(size=truth.shape) for strength in strengths], axis=1)
    return log_softmax(scores), codes


def test_the_gradient_of_the_cross_entropy_is_that_of_finite_differences():
    logs, codes = members(n=50)
    w = np.array([0.2, 0.5, 0.3])
    _, slope = cross_entropy(w, logs, codes)
    for b in range(3):
        step = 1e-6 * np.eye(3)[b]
        rise = cross_entropy(w + step, logs, codes)[0] - cross_entropy(w - step, logs, codes)[0]
        assert slope[b] == pytest.approx(rise / 2e-6, rel=1e-5)


@pytest.mark.parametrize("strengths", [(1.0, 2.0), (3.0, 0.0), (1.0, 1.0)])
def test_no_weights_on_a_grid_do_better(strengths):
    logs, codes = members(strengths=strengths)
    found = fit_weights(logs, codes)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    grid = np.linspace(0, 1, 1001)
    losses = [cross_entropy(np.array([w, 1 - w]), logs, codes)[0] for w in grid]
    assert cross_entropy(found, logs, codes)[0] <= min(losses) + 1e-7
    assert found[0] == pytest.approx(grid[np.argmin(losses)], abs=2e-3)


def test_weights_of_no_rows_and_of_one_member():
    logs, codes = members()
    np.testing.assert_array_equal(fit_weights(logs[:0], codes[:0]), np.full(3, 1 / 3))
    np.testing.assert_array_equal(fit_weights(logs[:, :1], codes), [1])


def test_a_class_that_all_members_lack_is_no_trouble():
    logs, codes = members()
    wider = np.concatenate([logs, np.full((*logs.shape[:2], 1), -np.inf)], axis=2)
    np.testing.assert_allclose(fit_weights(wider, codes), fit_weights(logs, codes), atol=1e-5)
    assert fit_gate(np.ones((400, 2), np.float32), wider, codes, np.zeros(3, np.float32), hidden=4, seed=0)[1].any()


def gate_problem(n=200):
    """Return rows whose first input shows which of two members is right."""
    rng = np.random.default_rng(5)
    codes = rng.integers(0, 3, n)
    who = rng.integers(0, 2, n)
    scores = rng.normal(size=(n, 2, 3)) * 2
    scores[np.arange(n), who, codes] += 4
    inputs = np.column_stack([who - 0.5, rng.normal(size=(n, 3)) * 0.1]).astype(np.float32)
    return inputs, log_softmax(scores), codes


def torch_gate(gate):
    hidden, out = torch.nn.Linear(*gate.hidden_weights.T.shape), torch.nn.Linear(*gate.out_weights.T.shape)
    with torch.no_grad():
        for parameter, array in zip(
            (hidden.weight, hidden.bias, out.weight, out.bias), training.parameters(gate), strict=True
        ):
            parameter.copy_(torch.from_numpy(array.copy()))
    return torch.nn.Sequential(hidden, torch.nn.ReLU(), out)


def torch_loss(network, inputs, logs, codes, offsets):
    shifts = network(torch.from_numpy(inputs))
    weights = torch.nn.functional.softplus(torch.from_numpy(offsets) + shifts)
    scores = (weights[:, :, None] * torch.from_numpy(logs.astype(np.float32))).sum(dim=1)
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(codes))
    return loss, loss + training.SHIFT_PENALTY * shifts.square().mean()


def test_the_gates_gradient_and_steps_are_torchs():
    inputs, logs, codes = gate_problem()
    offsets = inverse_softplus(np.array([0.3, 0.7]))
    gate = Gate.initial(4, 8, 2, np.random.default_rng(0))
    network = torch_gate(gate)
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.RATE, weight_decay=training.DECAY)
    state = tuple([np.zeros_like(array) for array in training.parameters(gate)] for _ in range(2))
    for step in range(1, 31):
        optimiser.zero_grad()
        plain, penalised = torch_loss(network, inputs, logs, codes, offsets)
        penalised.backward()
        assert gated_loss(gate, inputs, logs, codes, offsets) == pytest.approx(plain.item(), rel=1e-5)
        slopes = gradient(gate, inputs, logs, codes, offsets)
        for ours, parameter in zip(slopes, network.parameters(), strict=True):
            np.testing.assert_allclose(ours, parameter.grad.numpy(), rtol=1e-3, atol=2e-6)
        optimiser.step()
        gate = adam_step(gate, slopes, state, step)
        for array, parameter in zip(training.parameters(gate), network.parameters(), strict=True):
            np.testing.assert_allclose(array, parameter.detach().numpy(), atol=1e-4)


def test_a_gate_that_helps_is_kept_and_one_that_does_not_is_not():
    inputs, logs, codes = gate_problem(600)
    offsets = inverse_softplus(np.full(2, 0.5))
    gate, choosing = fit_gate(inputs, logs, codes, offsets, hidden=16, seed=0)
    still = Gate.initial(4, 16, 2, np.random.default_rng(0))
    before = gated_loss(still, inputs[choosing], logs[choosing], codes[choosing], offsets)
    assert gated_loss(gate, inputs[choosing], logs[choosing], codes[choosing], offsets) < 0.9 * before
    assert 0.15 < choosing.mean() < 0.25
    again, _ = fit_gate(inputs, logs, codes, offsets, hidden=16, seed=0)
    assert all((a == b).all() for a, b in zip(training.parameters(gate), training.parameters(again), strict=True))
    mute = np.full_like(logs, np.log(1 / 3))  # members without skill: no weights are better than others
    flat, _ = fit_gate(inputs, mute, codes, offsets, hidden=16, seed=0)
    assert flat is None
    assert fit_gate(inputs[:10], logs[:10], codes[:10], offsets, hidden=16, seed=0)[0] is None


def test_temperatures_are_those_of_each_member():
    logs, codes = members()
    scaled = logs * np.array([1.0, 7.0, 0.3])[:, None]
    expected = [fit_temperature(scaled[:, b], codes) for b in range(3)]
    np.testing.assert_allclose(fit_temperatures(scaled, codes), expected, rtol=1e-6)


def test_the_cascades_threshold_is_the_cheapest_that_loses_little_for_sure():
    logs, codes = members(n=2000, strengths=(2.0, 1.5, 3.0))
    cascade = fit_cascade(logs, codes, (3.0, 1.0, 9.0), threshold=None, tolerance=0.02)
    assert cascade.order == (1, 0, 2)
    points = cascade_curve(cascade.step_scores(logs), codes, cascade.spent())
    chosen = next(point for point in points if point.threshold == cascade.threshold)
    assert chosen.loss + chosen.loss_error <= 0.02
    assert all(point.loss + point.loss_error > 0.02 for point in points if point.cost < chosen.cost)
    assert 0 < chosen.threshold < NEVER
    assert fit_cascade(logs, codes, (1, 1, 1), threshold=0.7, tolerance=0).threshold == 0.7
    assert fit_cascade(logs[:0], codes[:0], (1, 1, 1), threshold=None, tolerance=0).threshold == NEVER


def test_every_stage_of_a_cascade_has_its_own_fit():
    logs, codes = members()
    cascade = fit_cascade(logs, codes, (1, 2, 3), threshold=None, tolerance=0.01)
    np.testing.assert_allclose(cascade.weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.triu(cascade.weights, 1), 0)
    np.testing.assert_allclose(cascade.weights[1, :2], fit_weights(logs[:, :2], codes), atol=1e-6)
    for scores in cascade.step_scores(logs).swapaxes(0, 1):
        assert fit_temperature(scores, codes) == pytest.approx(1, abs=1e-2)


def test_subsets_are_measured_one_by_one():
    logs, codes = members()
    weights = np.array([0.2, 0.7, 0.1])
    combiner = Combiner("stack", np.ones(3, np.float32), inverse_softplus(weights))
    fused = combiner.scores(logs, [])
    found = measure_subsets(combiner, logs, codes, fused)
    assert len(found) == 7
    assert found.accuracy[-1] == pytest.approx(np.mean(fused.argmax(axis=1) == codes))
    pair = weighted(logs[:, [0, 2]], np.array([2 / 3, 1 / 3]))
    assert found.accuracy[position([0, 2])] == pytest.approx(np.mean(pair.argmax(axis=1) == codes))
    assert found.temperature[position([0, 2])] == pytest.approx(fit_temperature(pair, codes), rel=1e-3)
    assert not len(measure_subsets(combiner, logs[:0], codes[:0], fused[:0]))


def test_auto_compares_rules_on_rows_their_weights_did_not_see():
    logs, codes = members()
    fold = stratified_folds(codes, 4, np.random.default_rng(0))
    joint = logs[:, 1] * 3
    found = choose_rule(logs, codes, fold, joint)
    assert set(found) == {"log-average", "probability-average", "stack", "concatenation"}
    assert found["concatenation"] == pytest.approx(mean_nll(joint, codes, fit_temperature(joint, codes)))
    stacked = np.empty_like(joint)
    for number in range(4):
        held = fold == number
        stacked[held] = weighted(logs[held], fit_weights(logs[~held], codes[~held]))
    assert found["stack"] == pytest.approx(mean_nll(stacked, codes, fit_temperature(stacked, codes)))
    assert found["stack"] < found["log-average"]


@settings(max_examples=50)
@given(n=st.integers(1, 60), folds=st.integers(2, 6), seed=st.integers(0, 1000))
def test_folds_are_even_in_size_and_in_classes(n, folds, seed):
    codes = np.random.default_rng(seed).integers(0, 4, n)
    fold = stratified_folds(codes, folds, np.random.default_rng(seed))
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    for code in range(4):
        assert np.ptp(np.bincount(fold[codes == code], minlength=folds)) <= 1
    np.testing.assert_array_equal(fold, stratified_folds(codes, folds, np.random.default_rng(seed)))


def test_held_out_scores_are_those_of_estimators_without_the_fold(toy):
    fold = stratified_folds(toy.codes, 3, np.random.default_rng(0))
    blocks = [toy.X[:, :5], toy.X[:, 5:]]
    held = HeldOut.of([GAUSSIAN] * len(blocks), blocks, GAUSSIAN, toy.X, toy.codes, fold)
    np.testing.assert_array_equal(held.rows, np.arange(len(toy.X)))
    for number in range(3):
        out = fold == number
        for member, block in enumerate(blocks):
            alone = GaussianClassifier().fit(block[~out], toy.codes[~out])
            np.testing.assert_allclose(held.scores[out, member], alone.scores(block[out]), rtol=1e-5, atol=1e-5)
        alone = GaussianClassifier().fit(toy.X[~out], toy.codes[~out])
        np.testing.assert_allclose(held.whole[out], alone.scores(toy.X[out]), rtol=1e-5, atol=1e-5)


def test_rows_of_a_class_that_no_other_fold_has_are_left_out(toy):
    rows = np.concatenate([np.flatnonzero(toy.codes == 0)[:1], np.flatnonzero(toy.codes != 0)[:100]])
    codes = toy.codes[rows]
    fold = stratified_folds(codes, 4, np.random.default_rng(0))
    held = HeldOut.of([GAUSSIAN], [toy.X[rows]], GAUSSIAN, None, codes, fold)
    assert held.rows.tolist() == list(range(1, 101))
    assert np.isneginf(held.scores[held.fold == fold[0], :, 0]).all()
    assert np.isfinite(held.scores[held.fold != fold[0]]).all()
    np.testing.assert_array_equal(
        filled(log_softmax(held.scores))[:, 0].argmax(axis=1), held.scores[:, 0].argmax(axis=1)
    )


def test_folds_that_cannot_be_learned_from_give_no_rows():
    X, codes = np.eye(3), np.arange(3)
    held = HeldOut.of([GAUSSIAN], [X], GAUSSIAN, None, codes, np.arange(3))
    assert held.scores.shape == (0, 1, 3)
    with pytest.raises(NotTrainable):
        GaussianClassifier().fit(X, codes)


def test_searched_temperatures_are_right_on_as_many_rows_as_the_best_of_a_grid():
    logs, codes = members(n=150)
    found = search_temperatures(logs.astype(np.float32), codes, np.ones(3, np.float32))

    def right(weights):
        return np.mean(weighted(logs, np.asarray(weights)).argmax(axis=1) == codes)

    grid = np.exp(np.linspace(-3, 3, 13))
    assert right(1 / found) >= max(right([1, a, b]) for a in grid for b in grid)
    assert right(1 / found) > right(np.ones(3))


def test_temperatures_that_cannot_be_improved_are_kept():
    codes = np.array([0, 1, 2, 0])
    sure = np.repeat(5 * np.eye(3, dtype=np.float32)[codes][:, None], 2, axis=1)
    start = np.array([0.5, 2.0], np.float32)
    assert search_temperatures(sure, codes, start) is start
    assert search_temperatures(sure[:0], codes[:0], start) is start
    lacking = sure.copy()
    lacking[:, 0, 1], lacking[:, :, 2] = -np.inf, -np.inf  # one member lacks a class, and both lack another
    assert np.isfinite(search_temperatures(lacking, np.array([0, 1, 1, 0]), start)).all()
