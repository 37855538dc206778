"""The sampled classifier: the loss of all centres at once, gradients of touched rows only, and slices that agree."""

import math
import threading

import pytest
import torch
from torch.nn.functional import normalize

from classifiers.fit.discrimination import losses
from classifiers.fit.discrimination.ranks import Ranks
from classifiers.fit.discrimination.sampled import Form, SampledCentres

K, D, N, POSITIVES = 50, 12, 9, 3


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(K, D, generator=generator)
    E = normalize(torch.randn(N, D, generator=generator))
    own = torch.stack([torch.randperm(K, generator=generator)[:POSITIVES] for _ in range(N)])
    return W, E, own, torch.randperm(K, generator=generator)[:20]


def expected(W, E, own, drawn, counted, form):
    """Return loss and gradients by the losses of adapters, over the whole of W."""
    E, W = E.clone().requires_grad_(), W.clone().requires_grad_()
    positive, negative = losses.cosines(E, normalize(W), own, drawn)
    loss = losses.losses(form.loss, positive, negative, form.scale, form.margin)[counted].mean()
    return loss, *torch.autograd.grad(loss, (E, W))


class Together(Ranks):
    """Ranks that are threads of one process, in place of a process group."""

    def __init__(self, rank, world, barrier, board):
        super().__init__(rank, world)
        self.barrier, self.board = barrier, board

    def gathered(self, x):
        self.board[self.rank] = x
        self.barrier.wait()
        found = [self.board[rank].clone() for rank in range(self.world)]
        self.barrier.wait()
        return found

    def summed(self, x):
        return torch.stack(self.gathered(x)).sum(dim=0)


def together(world, work):
    """Run `work(ranks)` in one thread for each rank; return the results in their order."""
    barrier, board, found = threading.Barrier(world, timeout=30), {}, {}
    threads = [
        threading.Thread(target=lambda rank=rank: found.update({rank: work(Together(rank, world, barrier, board))}))
        for rank in range(world)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[rank] for rank in range(world)]


@pytest.mark.parametrize("world", [1, 3])
@pytest.mark.parametrize("form", [Form(), Form(loss="mlc", scale=8.0, margin=0.0)], ids=lambda form: form.loss)
def test_loss_and_gradients_are_those_of_the_whole_classifier(world, form):
    W, E, own, drawn = batch()
    counted = torch.arange(N) != 4

    def work(ranks):
        centres = SampledCentres(W[ranks.share(K)].clone(), K, ranks, form)
        found = centres.compare(E, own, drawn, counted)
        rows = torch.zeros(len(centres.weight), D).index_copy(0, centres._touched, centres._gradient)
        return found, rows, centres._touched + ranks.share(K).start

    parts = together(world, work)
    loss, of_E, of_W = expected(W, E, own, drawn, counted, form)
    for found, _, _ in parts:
        torch.testing.assert_close(found.means[0], loss.detach())
        torch.testing.assert_close(found.gradient, of_E)
    torch.testing.assert_close(torch.cat([rows for _, rows, _ in parts]), of_W)
    touched = set(torch.cat([rows for _, _, rows in parts]).tolist())
    assert touched == {*own.flatten().tolist(), *drawn.tolist()} != set(range(K))


def test_a_process_without_a_touched_centre_adds_nothing():
    W, E, _, _ = batch()
    own, drawn = torch.zeros(N, 1, dtype=torch.int64), torch.tensor([1, 2])
    parts = together(
        2,
        lambda ranks: SampledCentres(W[ranks.share(K)].clone(), K, ranks, Form()).compare(
            E, own, drawn, own[:, 0] == 0
        ),
    )
    loss, of_E, _ = expected(W, E, own, drawn, own[:, 0] == 0, Form())
    for found in parts:
        torch.testing.assert_close(found.means[0], loss.detach())
        torch.testing.assert_close(found.gradient, of_E)


def test_rows_that_every_step_touches_move_as_in_torchs_adamw_and_others_stay():
    W, E, own, _ = batch()
    drawn, counted = torch.arange(K - 10), torch.ones(N, dtype=torch.bool)
    own = own % (K - 10)
    centres = SampledCentres(W.clone(), K, Ranks(), Form(scale=4.0))
    whole = W.clone().requires_grad_()
    optimiser = torch.optim.AdamW([whole], weight_decay=0.1)
    for step in range(5):
        rate = 0.02 * math.cos(step)
        centres.compare(E, own, drawn, counted)
        centres.update(rate, 0.1)
        optimiser.param_groups[0]["lr"] = rate
        _, _, whole.grad = expected(whole.detach(), E, own, drawn, counted, Form(scale=4.0))
        optimiser.step()
    torch.testing.assert_close(centres.weight[:-10], whole.detach()[:-10])
    assert torch.equal(centres.weight[-10:], W[-10:])
    assert not centres.steps[-10:].any()


def test_the_form_is_the_loss_of_adapters():
    positive, negative = torch.rand(4, 3), torch.rand(4, 7)
    pulled, pushed = torch.logsumexp(-5 * losses.with_margin(positive, 0.2), 1), torch.logsumexp(5 * negative, 1)
    for name in ("mlcd", "mlc"):
        wanted = losses.losses(name, positive, negative, 5, 0.2)
        torch.testing.assert_close(Form(loss=name, scale=5, margin=0.2).of(pulled, pushed), wanted)
