"""Our self-attention against torch's MultiheadAttention, alone and inside the towers of the libraries."""

import numpy as np
import pytest
import torch
from helpers import binds, clips
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.engines.attention import Attention, faster


def pair(heads=4, width=8, seed=0, **options):
    """Return two equal modules, one of them made faster."""
    torch.manual_seed(seed)
    own = torch.nn.MultiheadAttention(heads * width, heads, **options).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_(0, 0.5)
    ours = torch.nn.MultiheadAttention(heads * width, heads, **options).eval().requires_grad_(False)
    ours.load_state_dict(own.state_dict())
    return own, faster(torch.nn.ModuleList([ours]))[0]


def masks(rows, heads, length):
    """Return masks of every form. No token is masked from itself, because torch gives NaN for a row without keys."""
    causal = torch.ones(length, length).triu(1).bool()
    additive = torch.zeros(length, length).masked_fill(causal, float("-inf"))
    each = torch.rand(rows * heads, length, length) < 0.4
    each &= ~torch.eye(length, dtype=torch.bool)
    return {"none": None, "bool": causal, "additive": additive, "each": each}


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 4),
    length=st.integers(1, 9),
    heads=st.integers(1, 4),
    width=st.sampled_from([1, 3, 8]),
    batch_first=st.booleans(),
    bias=st.booleans(),
    form=st.sampled_from(["none", "bool", "additive", "each"]),
    seed=st.integers(0, 99),
)
def test_plain_self_attention(rows, length, heads, width, batch_first, bias, form, seed):
    own, ours = pair(heads, width, seed, batch_first=batch_first, bias=bias)
    x = torch.randn(*((rows, length) if batch_first else (length, rows)), heads * width)
    mask = masks(rows, heads, length)[form]
    wanted, _ = own(x, x, x, need_weights=False, attn_mask=None if mask is None else mask.clone())
    found, weights = ours(x, x, x, need_weights=False, attn_mask=mask)
    assert weights is None
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_other_calls_give_what_torch_gives(batch_first):
    own, ours = pair(batch_first=batch_first)
    shape = lambda rows, length: (rows, length, 32) if batch_first else (length, rows, 32)  # noqa: E731
    x, other, third = torch.randn(shape(2, 5)), torch.randn(shape(2, 7)), torch.randn(shape(2, 7))
    padding = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
    calls = {
        "cross": ((x, other, other), {"need_weights": False}),
        "three tensors": ((x, other, third), {"need_weights": False}),
        "query is value only": ((x, x + 1, x), {"need_weights": False}),
        "weights": ((x, x, x), {}),
        "weights of each head": ((x, x, x), {"average_attn_weights": False}),
        "padding": ((x, x, x), {"need_weights": False, "key_padding_mask": padding}),
        "one row without its axis": ((x[0], x[0], x[0]), {"need_weights": False}),
    }
    for name, (inputs, options) in calls.items():
        wanted, found = own(*inputs, **options), ours(*inputs, **options)
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}])
def test_modules_that_do_more_are_left_as_they_are(options):
    _, ours = pair(**options)
    assert type(ours) is torch.nn.MultiheadAttention


def test_weights_are_shared_and_a_second_call_changes_nothing():
    _, ours = pair()
    before = {name: value.data_ptr() for name, value in ours.named_parameters()}
    holder = torch.nn.ModuleList([ours])
    assert faster(holder)[0] is ours
    assert ours.qkv.weight is ours.in_proj_weight
    assert ours.out.weight is ours.out_proj.weight
    assert {name: value.data_ptr() for name, value in ours.named_parameters()} == before
    ours.to(torch.bfloat16)
    assert ours.qkv.weight is ours.in_proj_weight
    assert ours.qkv.weight.dtype == torch.bfloat16


def test_torchs_own_encoder_layer_still_works():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval().requires_grad_(False)
    x = torch.randn(3, 6, 32)
    wanted = layer(x)
    assert isinstance(faster(layer).self_attn, Attention)
    torch.testing.assert_close(layer(x), wanted, atol=2e-5, rtol=2e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), wanted, atol=2e-5, rtol=2e-5)


@pytest.fixture(scope="module", autouse=True)
def _registered(tmp_path_factory):
    clips.register(tmp_path_factory.mktemp("configs"))


@pytest.mark.parametrize("name", ["tiny", "tiny-quickgelu", "clipa", "coca", "map"])
def test_open_clips_towers(name):
    model = clips.make(name).requires_grad_(False)
    photos = clips.photos()
    pixels = clips.pixels(model, photos)
    ids = torch.randint(1, 400, (3, 12), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 49407
    with torch.inference_mode():
        wanted = model.encode_image(pixels), model.encode_text(ids)
        faster(model)
        found = model.encode_image(pixels), model.encode_text(ids)
    assert any(type(part) is Attention for part in model.modules())
    for ours, own in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, own, atol=1e-4, rtol=1e-4)


def test_imagebinds_towers():
    """Its images and texts get our attention. Towers that append a learned key keep their own."""
    model = binds.build().requires_grad_(False)
    size = {"vision": (3, 224, 224), "audio": (3, 1, 128, 204), "depth": (1, 224, 224)}
    random = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(2, *shape, generator=random) for name, shape in size.items()}
    inputs["text"] = torch.randint(1, 400, (2, 77), generator=random)
    with torch.inference_mode():
        wanted = model(inputs)
        faster(model)
        found = model(inputs)
    for name, vectors in wanted.items():
        np.testing.assert_allclose(found[name].numpy(), vectors.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)
    has_ours = {
        name: {isinstance(part, Attention) for part in trunk.modules() if isinstance(part, torch.nn.MultiheadAttention)}
        for name, trunk in model.modality_trunks.items()
    }
    assert has_ours == {
        "vision": {True},
        "text": {True},
        "audio": {False},
        "thermal": {False},
        "depth": {False},
        "imu": {False},
    }
