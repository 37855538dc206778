"""Compiling by block: which networks, how often, with which numbers, and what happens if it fails."""

import logging

import numpy as np
import pytest
import timm
import torch
from helpers import binds, clips
from helpers.families import FAMILIES, write_weights
from torch._dynamo.utils import counters

from embedder import probe, registry
from embedder.encoder import Graph, Port
from embedder.engines import torch_engine
from embedder.engines.attention import faster
from embedder.engines.blocks import Compiled, repeated
from embedder.engines.torch_engine import TorchEngine
from embedder.errors import DeviceFull
from embedder.spec import ImagePreprocessing

SIZE = 16
IMAGE = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Block(torch.nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.attn = torch.nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, width))

    def forward(self, x, mask=None):
        y = self.norm(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(x)


class Network(torch.nn.Module):
    """Patches of 4 × 4 pixels, a token of the class before them, blocks, their mean."""

    def __init__(self, blocks=6, width=16, hidden=32):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, width, 4, 4)
        self.token = torch.nn.Parameter(torch.randn(1, 1, width))
        self.blocks = torch.nn.ModuleList([Block(width, hidden) for _ in range(blocks)])
        self.head = torch.nn.Linear(width, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return (self.head(x.mean(1)),)


def graph(build=Network):
    port = Port((SIZE, SIZE, 3), "uint8")
    return Graph(
        key="network",
        libraries=(),
        build=lambda: build().eval().requires_grad_(False),
        ports=(port,),
        normalise=IMAGE,
    )


def pixels(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)


def graphs_of(run):
    """Return how many graphs torch compiles while `run` runs."""
    before = counters["stats"]["unique_graphs"]
    run()
    return counters["stats"]["unique_graphs"] - before


def check(run, wanted):
    for rows in (3, 1, 7, 70):
        x = pixels(rows, seed=rows)
        np.testing.assert_allclose(run([x])[0], wanted([x])[0], atol=2e-5)


def test_equal_blocks_are_compiled_once_for_one_row_and_once_for_more():
    run = TorchEngine("cpu", "fp32", mode="compile").compile(graph())
    wanted = TorchEngine("cpu", "fp32").compile(graph())
    assert graphs_of(lambda: check(run, wanted)) <= 4  # the blocks and the normalisation, each for 1 and for n rows
    assert graphs_of(lambda: check(run, wanted)) == 0


@pytest.fixture
def quick(monkeypatch):
    """Let torch trace functions without translating them, which takes most of the time."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: compile_(call, dynamic=dynamic, backend="eager"))


@pytest.mark.usefixtures("quick")
def test_many_networks_do_not_use_up_each_others_variants():
    """torch stops compiling a function after eight variants. Ten networks of one class need twenty."""
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True), torch.inference_mode():
        for kind in range(10):
            shape = {"hidden": 8 + kind} if kind % 2 else {"blocks": 1, "width": 8 + 2 * kind}  # by block, and whole
            compiled = Compiled(Network(**{"blocks": 2, **shape}).eval().requires_grad_(False))
            for rows in (3, 1, 4):
                compiled(torch.randn(rows, 3, SIZE, SIZE))


def test_sizes_of_one_network_do_not_become_symbols_in_another(monkeypatch):
    """Networks that are compiled whole have an image size each; only the number of rows may vary."""
    symbols = []

    def noting(graph, inputs):
        shapes = [getattr(node.meta["example_value"], "shape", ()) for node in graph.graph.find_nodes(op="placeholder")]
        symbols.append({str(size) for shape in shapes for size in shape if isinstance(size, torch.SymInt)})
        return graph

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: compile_(call, dynamic=dynamic, backend=noting))
    with torch.inference_mode():
        for size in (16, 20, 24):
            x = torch.randn(3, 3, size, size)
            torch._dynamo.maybe_mark_dynamic(x, 0)
            Compiled(Network(blocks=1).eval().requires_grad_(False))(x)
    assert [len(each) for each in symbols] == [1, 1, 1]


@pytest.mark.usefixtures("quick")
def test_a_first_block_with_a_transposed_view_uses_the_others_code():
    blocks = torch.nn.Sequential(*(Block(16, 32) for _ in range(3))).eval().requires_grad_(False)
    compiled, x = Compiled(blocks), torch.randn(5, 3, 16).transpose(0, 1)
    with torch.inference_mode():
        assert graphs_of(lambda: compiled(x)) == 1
        torch.testing.assert_close(compiled(x), compiled.eager(x), atol=2e-5, rtol=2e-5)


@pytest.mark.usefixtures("quick")
def test_blocks_of_several_kinds_share_code_with_their_kind_only():
    network = Network(blocks=4).eval().requires_grad_(False)
    for block in network.blocks[:2]:
        block.mlp[1] = torch.nn.ReLU()
    compiled, x = Compiled(network), torch.randn(3, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert graphs_of(lambda: compiled(x)) == 2
        torch.testing.assert_close(compiled(x)[0], compiled.eager(x)[0], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("name", "lists"),
    [
        ("test_vit", 1),  # a transformer
        ("test_vit3", 1),
        ("test_resnet", 0),
        ("test_efficientnet", 0),
        ("test_convnext", 0),  # its stages repeat blocks, which are convolutions
        ("efficientnet_lite0", 0),
        ("swin_tiny_patch4_window7_224", 4),  # one for each stage
    ],
)
def test_transformers_are_compiled_by_block_and_others_whole(name, lists):
    with torch.device("meta"):
        found = repeated(timm.create_model(name, pretrained=False))
    assert len(found) == lists
    assert all(len(blocks) > 1 for blocks in found)


def test_the_towers_of_clip_and_imagebind_are_compiled_by_block(tmp_path):
    clips.register(tmp_path)
    model = clips.make("tiny")
    assert [[*blocks] for blocks in repeated(model.visual)] == [[*model.visual.transformer.resblocks]]
    del model.visual
    assert [[*blocks] for blocks in repeated(model)] == [[*model.transformer.resblocks]]  # tables of tokens don't count
    trunks = binds.build().modality_trunks
    assert all(len(repeated(trunk)[0]) == len(trunk.blocks) for trunk in trunks.values())


def test_a_head_that_repeats_small_blocks_does_not_decide():
    """A large network with two small blocks at its end is compiled whole."""
    network = torch.nn.ModuleDict({"body": torch.nn.Linear(500, 500), "blocks": Network(blocks=2).blocks})
    assert repeated(network) == []


@pytest.mark.usefixtures("quick")
def test_a_block_with_a_forward_of_its_own_is_compiled_with_the_whole():
    network = Network(blocks=2).eval().requires_grad_(False)
    network.blocks[1].forward = lambda x: x + 1
    x = torch.randn(3, 3, SIZE, SIZE)
    with torch.inference_mode():
        wanted = network(x)[0]
        torch.testing.assert_close(Compiled(network)(x)[0], wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.usefixtures("quick")
def test_masks_and_imagebinds_attention_are_compiled_too():
    tower = binds.build().requires_grad_(False).modality_trunks["text"]
    x, mask = torch.randn(3, 7, 32), torch.full((7, 7), float("-inf")).triu(1)
    with torch.inference_mode():
        wanted = tower(tokens=x, attn_mask=mask)
        compiled = Compiled(faster(tower))
        assert graphs_of(lambda: tower(tokens=x, attn_mask=mask)) > 0
        torch.testing.assert_close(tower(tokens=x, attn_mask=mask), wanted, atol=2e-5, rtol=2e-5)
    assert compiled._is_on


def backend_that_fails(graph, inputs):
    raise RuntimeError("no such instruction\nsecond line")


def test_a_block_that_cannot_be_compiled_runs_in_eager_mode(caplog, monkeypatch):
    torch_engine._log_eager.cache_clear()
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, dynamic: compile_(call, backend=backend_that_fails))
    engine = TorchEngine("cpu", "fp32", mode="compile")
    run, wanted = engine.compile(graph()), TorchEngine("cpu", "fp32").compile(graph())
    with caplog.at_level(logging.WARNING, "headwater.embedder"):
        check(run, wanted)
    assert engine.name == "torch-cpu-fp32"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "headwater.embedder"]
    assert "torch.compile is not used, because it failed with" in line
    assert "second line" not in line
    torch_engine._log_eager.cache_clear()


@pytest.mark.usefixtures("quick")
def test_inputs_that_fail_do_not_end_compiling():
    compiled, x = Compiled(Network(blocks=2).eval().requires_grad_(False)), torch.randn(3, 3, SIZE, SIZE)
    with torch.inference_mode():
        with pytest.raises(RuntimeError):
            compiled.eager(torch.randn(3, 4, SIZE, SIZE))
        assert graphs_of(lambda: compiled(x)) == 1


def test_too_little_memory_in_a_block_is_not_a_fault_of_the_compiler():
    class Full(Block):
        def forward(self, x, mask=None):
            torch._dynamo.graph_break()
            raise torch.OutOfMemoryError("no memory")

    class Wide(Network):
        def __init__(self):
            super().__init__()
            self.blocks = torch.nn.ModuleList([Full(16, 32) for _ in range(2)])

    engine = TorchEngine("cpu", "fp32", mode="compile")
    with pytest.raises(DeviceFull):
        engine.compile(graph(Wide))([pixels(2)])
    assert engine.name == "torch-cpu-fp32-compile"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("family", "most"),
    [
        ("mlcd", 2),  # blocks and normalisation
        ("timm, a transformer", 2),
        ("timm, a convolutional network", 1),
        ("openclip", 3),  # its texts have blocks of their own
        ("hf, images and texts", 3),  # blocks and the head that pools, of both towers
        ("imagebind", 10),  # six modalities; texts and sounds have two kinds of blocks
        ("lite0", 2),  # an image network and a text network
    ],
)
def test_no_family_is_compiled_more_often_than_it_has_kinds_of_blocks(tmp_path, family, most):
    write_weights(tmp_path)
    name = FAMILIES[family].format(folder=tmp_path)
    encoder = registry.load(
        name, backend="torch-cpu-fp32-compile", cache_dir=tmp_path / "cache", accept_noncommercial=True
    )
    vectors = []
    assert graphs_of(lambda: vectors.append(probe.embed(encoder))) <= most
    assert probe.cosines(vectors[0], encoder.reference_probe()).min() > 0.99999
    assert encoder.backend.endswith("-compile")
