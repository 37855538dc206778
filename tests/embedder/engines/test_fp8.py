"""Products in eight bits: their error, saturation, the choice of blocks, determinism, the engine."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder import probe
from embedder.checks import check_encoder
from embedder.encoder import Graph, Port, image_blueprint
from embedder.engines import fp8
from embedder.engines.attention import faster
from embedder.engines.fp8 import MARGIN, MOST, MOST_LOSS, Linear8, quantise
from embedder.engines.graph_encoder import assemble
from embedder.engines.torch_engine import TorchEngine, precisions
from embedder.errors import ProbeMismatch
from embedder.spec import EncoderSpec, ImagePreprocessing

SIZE, WIDTH = 32, 512
IMAGE = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.attn = torch.nn.MultiheadAttention(WIDTH, 8, batch_first=True)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(WIDTH, 1024), torch.nn.GELU(), torch.nn.Linear(1024, WIDTH))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Network(torch.nn.Module):
    def __init__(self, blocks=4):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, WIDTH, 8, 8)
        self.blocks = torch.nn.Sequential(*(Block() for _ in range(blocks)))
        self.head = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        return (self.head(self.blocks(x).mean(1)),)


def network(**options):
    return faster(Network(**options).eval().requires_grad_(False).to(torch.bfloat16))


def graph(build=Network):
    port = Port((SIZE, SIZE, 3), "uint8")
    make = lambda: build().eval().requires_grad_(False)  # noqa: E731
    return Graph(key="network", libraries=(), build=make, ports=(port,), normalise=IMAGE)


def kinds(module):
    return [type(part) for part in module.modules() if isinstance(part, torch.nn.Linear | Linear8)]


def by_hand(linear, x, largest):
    """Return the product of the rounded numbers in fp32, from scales found by doubling and halving."""
    scales = []
    for most in (largest * MARGIN, float(linear.weight.abs().max())):
        scale = 1.0
        while scale * 448 < most:
            scale *= 2
        while scale / 2 * 448 >= most:
            scale /= 2
        scales.append(scale)
    rows, weight = (
        (y.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
        for y, scale in zip((x, linear.weight), scales, strict=True)
    )
    return rows @ weight.T + (0 if linear.bias is None else linear.bias.float())


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5),
    exponent=st.integers(-12, 12),
    bias=st.booleans(),
    share=st.sampled_from([0.01, 1, 3]),
    seed=st.integers(0, 99),
)
def test_a_layer_computes_the_product_of_the_rounded_numbers(rows, exponent, bias, share, seed):
    """Inputs may be smaller than those of the calibration, and larger: these saturate."""
    torch.manual_seed(seed)
    linear = torch.nn.Linear(64, 32, bias=bias).requires_grad_(False).to(torch.bfloat16)
    x = (torch.randn(rows, 7, 64) * 2.0**exponent).to(torch.bfloat16)
    largest = float(x.abs().max()) / share
    found = Linear8(linear, largest)(x)
    wanted = by_hand(linear, x, largest)
    assert found.dtype == torch.bfloat16
    assert found.shape == (rows, 7, 32)
    torch.testing.assert_close(found.float(), wanted, rtol=0.01, atol=0.01 * float(wanted.abs().max()))


def test_the_error_of_a_product_is_that_of_three_bits():
    torch.manual_seed(0)
    linear = torch.nn.Linear(1024, 512).requires_grad_(False).to(torch.bfloat16)
    x = torch.randn(64, 1024, dtype=torch.bfloat16)
    exact = linear(x).float()
    error = (Linear8(linear, float(x.abs().max()))(x).float() - exact).norm() / exact.norm()
    assert 0.02 < error < 0.05  # two factors, each rounded to 1/16 of its power of two at most


def test_far_too_large_inputs_saturate_and_are_not_nan():
    linear = torch.nn.Linear(512, 512).requires_grad_(False).to(torch.bfloat16)
    assert Linear8(linear, 1.0)(torch.full((3, 512), 1e9, dtype=torch.bfloat16)).isfinite().all()
    assert Linear8(linear, 0.0)(torch.zeros(3, 512, dtype=torch.bfloat16)).isfinite().all()


@pytest.mark.parametrize("change", [0.999, 1.001])
def test_the_last_bits_of_the_calibration_do_not_change_a_scale(change):
    linear = torch.nn.Linear(512, 512).requires_grad_(False).to(torch.bfloat16)
    assert Linear8(linear, 5.0).scale == Linear8(linear, 5.0 * change).scale
    assert math.log2(Linear8(linear, 5.0).scale).is_integer()
    assert 5.0 * MARGIN <= Linear8(linear, 5.0).scale * MOST <= 5.0 * MARGIN * 2


def loss(module, twin, pixels):
    with torch.inference_mode():
        return float((1 - torch.cosine_similarity(module(pixels)[0].double(), twin(pixels)[0].double())).max())


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)


def converted(pixels, most_loss):
    module = network()
    with torch.inference_mode():
        share = quantise(module, lambda: module(pixels)[0], most_loss)
    return module, share


def test_all_blocks_without_a_limit_and_nothing_outside_them(pixels):
    module, share = converted(pixels, math.inf)
    assert share == 1
    assert type(module.head) is torch.nn.Linear
    for block in module.blocks:
        assert [type(part) for part in (block.attn.qkv, block.attn.out, block.mlp[0], block.mlp[2])] == [Linear8] * 4
    assert 1e-5 < loss(module, network(), pixels) < 0.01


def test_as_many_layers_as_the_limit_allows(pixels):
    whole = loss(converted(pixels, math.inf)[0], network(), pixels)
    limits = (0.0, whole / 3, whole / 1.5, 2 * whole)
    found = [converted(pixels, most) for most in limits]
    shares = [share for _, share in found]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0 < shares[1] < 1
    assert shares[-1] == 1
    for (module, share), most in zip(found, limits, strict=True):
        assert loss(module, network(), pixels) <= most + 1e-12
        eighths = [part.weight.numel() for part in module.modules() if isinstance(part, Linear8)]
        assert sum(eighths) == share * 4 * 2 * 1024 * WIDTH * 2
        assert len({tuple(kinds(block)) for block in module.blocks}) <= 2  # each kind is compiled by itself


def test_the_layers_that_lose_most_for_their_size_come_last(pixels):
    """A layer that is followed by large weights loses much: its errors are made larger."""
    module = network()
    for block in module.blocks:
        block.mlp[2].weight.mul_(8)
    with torch.inference_mode():
        exact = module(pixels)[0].double()
    roles = ("attn.qkv", "attn.out", "mlp.0", "mlp.2")
    costs = {}
    for role in roles:
        copy = deepcopy(module)
        with torch.inference_mode():
            for block in copy.blocks:
                for name, part in block.named_modules():
                    if isinstance(part, torch.nn.Linear) and name in roles and name != role:
                        part.__class__ = Kept
            quantise(copy, lambda copy=copy: copy(pixels)[0], math.inf)
            lost = float((1 - torch.cosine_similarity(copy(pixels)[0].double(), exact)).max())
        costs[role] = lost / dict(module.blocks[0].named_modules())[role].weight.numel()
    with torch.inference_mode():
        quantise(module, lambda: module(pixels)[0], 0.5 * max(costs.values()) * WIDTH * WIDTH)
    used = [role for role in roles if isinstance(dict(module.blocks[-1].named_modules())[role], Linear8)]
    ranked = sorted(costs, key=costs.__getitem__)
    assert used
    assert set(used) == set(ranked[: len(used)])


class Kept(torch.nn.Linear):
    """A linear layer that is not converted, because it is not exactly torch's."""


def test_small_layers_and_uncalled_ones_stay(pixels):
    module = network()
    for block in module.blocks:
        block.mlp[2] = torch.nn.Linear(1024, WIDTH).requires_grad_(False).to(torch.bfloat16)
        block.spare = torch.nn.Linear(WIDTH, WIDTH).requires_grad_(False).to(torch.bfloat16)
        block.small = torch.nn.Linear(WIDTH, 496).requires_grad_(False).to(torch.bfloat16)
        block.odd = torch.nn.Linear(WIDTH, 520).requires_grad_(False).to(torch.bfloat16)
    with torch.inference_mode():
        quantise(module, lambda: module(pixels)[0], math.inf)
    for block in module.blocks:
        assert {type(part) for part in (block.spare, block.small, block.odd)} == {torch.nn.Linear}
        assert type(block.mlp[2]) is Linear8


def test_a_convolutional_network_is_left_as_it_is():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.LazyLinear(512)).eval()
    x = torch.randn(2, 3, 30, 30)
    wanted = module(x)
    assert quantise(module.requires_grad_(False), lambda: module(x)) == 0
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_the_engine_keeps_the_vectors_within_the_probes_limit(mode):
    engine = TorchEngine("cpu", "fp8", mode=mode)
    images = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
    run = engine.compile(graph())
    found, wanted = run([images])[0], TorchEngine("cpu", "fp32").compile(graph())([images])[0]
    half = TorchEngine("cpu", "bf16").compile(graph())([images])[0]
    assert probe.cosines(found, wanted).min() > 1 - 2 * MOST_LOSS
    assert not np.array_equal(found, half)  # something is converted
    assert engine.name == "torch-cpu-fp8" + ("-compile" if mode == "compile" else "")


def test_vectors_do_not_depend_on_the_first_images_that_a_user_sends():
    random = np.random.default_rng(0)
    dark, later = random.integers(0, 9, (2, SIZE, SIZE, 3)), random.integers(0, 256, (3, SIZE, SIZE, 3))
    first, second = (TorchEngine("cpu", "fp8").compile(graph()) for _ in range(2))
    first([dark.astype(np.uint8)])
    np.testing.assert_array_equal(first([later.astype(np.uint8)])[0], second([later.astype(np.uint8)])[0])


def test_a_graph_that_takes_no_images_computes_in_bf16():
    class Text(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(99, WIDTH)
            self.blocks = torch.nn.Sequential(*(Block() for _ in range(2)))

        def forward(self, ids):
            return (self.blocks(self.table(ids)).mean(1),)

    build = lambda: Text().eval().requires_grad_(False)  # noqa: E731
    texts = Graph(key="texts", libraries=(), build=build, ports=(Port((6,), "int64"),))
    ids = np.arange(12).reshape(2, 6)
    found, half = (TorchEngine("cpu", precision).compile(texts)([ids])[0] for precision in ("fp8", "bf16"))
    np.testing.assert_array_equal(found, half)


@pytest.mark.parametrize("device", ["mps", "cuda"])
def test_a_device_that_cannot_is_refused(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(ValueError, match=r"does not compute in fp8, which needs .* 8\.9 or later"):
        TorchEngine(device, "fp8", mode="eager")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert fp8.is_possible(torch.device("cuda"))


@pytest.fixture(scope="module")
def blueprint():
    spec = EncoderSpec(
        architecture="test", weights="0" * 64, activation="gelu", output="pooled", dim=WIDTH, image=IMAGE
    )
    return image_blueprint(spec, (), lambda tokens: Network().eval().requires_grad_(False))


def test_an_encoder_in_fp8_passes_the_probe_and_its_own_checks(blueprint, tmp_path):
    encoder = assemble("test", blueprint, "torch-cpu-fp8", tmp_path)
    assert encoder.backend == "torch-cpu-fp8"
    assert probe.check(encoder, encoder.reference_probe()) >= probe.LEAST_COSINE
    check_encoder(encoder)


def test_fp8_is_used_only_where_it_is_named(blueprint, tmp_path):
    """Neither the choice of a precision nor the advice of a failed probe tries it."""
    encoder = assemble("test", blueprint, "torch-cpu-fp8", tmp_path)
    assert [*encoder.variants()] == ["fp16", "bf16", "fp32"]
    for device in ("cpu", "cuda", "mps"):
        assert "fp8" not in precisions(device)
    with pytest.raises(ProbeMismatch) as failed:
        probe.check(encoder, encoder.reference_probe(), least_cosine=0.9999999)
    assert failed.value.passing == ["fp32"]
