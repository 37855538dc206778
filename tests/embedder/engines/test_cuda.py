"""The torch engine on a GPU: every family, precision and mode against fp32 on the CPU. Run with ``pytest -m gpu``.

This module imports neither OpenVINO nor LanceDB, so that it runs where only torch is installed.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers.families import FAMILIES, write_weights
from torch._dynamo.utils import counters

from embedder import probe, registry
from embedder.encoder import Graph, Port
from embedder.engines.cache import Cache
from embedder.engines.rows.cuda import shared
from embedder.engines.rows.measured import CANDIDATES
from embedder.engines.rows.replicas import on_devices
from embedder.engines.torch_engine import TorchEngine, precisions
from embedder.errors import DeviceFull
from embedder.spec import ImagePreprocessing

pytestmark = pytest.mark.gpu

SIZE = 16
IMAGE = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a loader (family, backend) → encoder, with weights for every family."""
    folder, cache = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("cache")
    write_weights(folder)

    def load(family, backend):
        name = FAMILIES[family].format(folder=folder)
        return registry.load(name, backend=backend, cache_dir=cache, accept_noncommercial=True)

    return load


class Small(torch.nn.Module):
    def __init__(self, rows_of_ballast=0):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.ballast = rows_of_ballast

    def forward(self, x):
        if self.ballast:  # memory that grows with the rows
            torch.empty(len(x) * self.ballast, dtype=torch.uint8, device=x.device)
        return (self.convolution(x).relu().mean((2, 3)),)


def compiled(precision, mode, ballast=0):
    port = Port((SIZE, SIZE, 3), "uint8")
    build = lambda: Small(ballast).eval().requires_grad_(False)  # noqa: E731
    graph = Graph(key="small", libraries=("numpy",), build=build, ports=(port,), normalise=IMAGE)
    return TorchEngine("cuda", precision, mode=mode).compile(graph)


def pixels(rows, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8)


def expected(x):
    normal = (x / 255.0 - np.array(IMAGE.mean)) / np.array(IMAGE.std)
    with torch.inference_mode():
        return Small().eval()(torch.from_numpy(normal).float().permute(0, 3, 1, 2))[0].numpy()


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 2e-3), ("bf16", 0.03), ("fp16", 0.02)])
def test_a_networks_numbers(precision, atol, mode):
    """300 rows take several passes. Each is copied while the one before is computed."""
    run = compiled(precision, mode)
    for rows in (1, 5, 300):
        x = pixels(rows, seed=rows)
        np.testing.assert_allclose(run([x])[0], expected(x), atol=atol)


def test_networks_are_compiled_unless_told_otherwise():
    assert TorchEngine("cuda").name == "torch-cuda-fp16-compile"
    assert TorchEngine("cuda", mode="eager").name == "torch-cuda-fp16"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_chosen_precision_passes_the_probe(load, family):
    encoder = load(family, "torch-cuda-eager")
    assert probe.check(encoder, encoder.reference_probe()) >= probe.LEAST_COSINE
    assert encoder.backend.startswith("torch-cuda-")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", precisions("cuda"))
def test_every_precision_computes_nearly_the_same(load, family, precision):
    """16 bits may fail the strict limit of the probe, and are then not chosen; a wrong network is far below this."""
    encoder = load(family, f"torch-cuda-{precision}-eager")
    cosines = probe.cosines(probe.embed(encoder), encoder.reference_probe())
    assert cosines.min() > (0.99999 if precision == "fp32" else 0.98)


@pytest.mark.parametrize("family", ["lite0", "openclip", "imagebind"])
def test_compiled_networks_pass_the_probe_too(load, family):
    encoder = load(family, "torch-cuda-fp32-compile")
    assert probe.cosines(probe.embed(encoder), encoder.reference_probe()).min() > 0.99999
    assert encoder.backend == "torch-cuda-fp32-compile"  # no fallback to eager mode


@pytest.mark.parametrize("family", ["lite0", "openclip"])
def test_a_row_does_not_depend_on_its_neighbours(load, family):
    encoder = load(family, "torch-cuda-fp16-eager")
    rows = np.stack([encoder.prepare(image) for image in probe.images()] * 20)
    together = encoder.embed(rows).vectors
    alone = np.concatenate([encoder.embed(rows[i : i + 1]).vectors for i in range(5)])
    assert probe.cosines(together[:5], alone).min() > 0.9999
    assert probe.cosines(together[95:], alone).min() > 0.9999


def transformer(precision, mode, blocks=6):
    """Return a transformer, compiled, whose layers are large enough for eight bits."""
    port = Port((SIZE, SIZE, 3), "uint8")
    build = lambda: Transformer(blocks).eval().requires_grad_(False)  # noqa: E731
    graph = Graph(key="transformer", libraries=("numpy",), build=build, ports=(port,), normalise=IMAGE)
    return TorchEngine("cpu" if precision is None else "cuda", precision or "fp32", mode=mode).compile(graph)


class Transformer(torch.nn.Module):
    """Patches of 2 × 2 pixels, encoder layers of 512 units with attention in torch's own module, their mean."""

    def __init__(self, blocks):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 512, 2, 2)
        self.blocks = torch.nn.Sequential(*(Layer() for _ in range(blocks)))

    def forward(self, x):
        return (self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1),)


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(512), torch.nn.LayerNorm(512)
        self.attn = torch.nn.MultiheadAttention(512, 8, batch_first=True)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 512))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize(
    ("precision", "least"), [("fp32", 0.999999), ("bf16", 0.9995), ("fp16", 0.9995), ("fp8", 0.998)]
)
def test_a_transformer_gives_the_vectors_of_the_cpu(precision, least, mode):
    """On CUDA its attention is replaced and its blocks are compiled; on the CPU both are torch's own."""
    if precision == "fp8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU does not compute in fp8")
    run, wanted = transformer(precision, mode), transformer(None, "eager")
    for rows in (3, 1, 130):
        x = pixels(rows, seed=rows)
        assert probe.cosines(run([x])[0], wanted([x])[0]).min() > least


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_equal_blocks_are_compiled_once(precision):
    """In fp8 there may be two kinds of blocks: those in eight bits and those in bf16."""
    if precision == "fp8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU does not compute in fp8")
    run, before = transformer(precision, "compile", blocks=12), counters["stats"]["unique_graphs"]
    for rows in (3, 1, 64, 130):
        run([pixels(rows)])
    kinds = 2 if precision == "bf16" else 3  # normalisation is one
    assert counters["stats"]["unique_graphs"] - before <= 2 * kinds  # one row, and any other number


def test_eight_bits_are_used_and_refused_where_a_gpu_has_none(monkeypatch):
    if torch.cuda.get_device_capability() >= (8, 9):
        x = pixels(5)
        assert not np.array_equal(transformer("fp8", "eager")([x])[0], transformer("bf16", "eager")([x])[0])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (8, 0))
    with pytest.raises(ValueError, match="does not compute in fp8"):
        TorchEngine("cuda", "fp8")


@pytest.mark.parametrize("family", ["mlcd", "timm, a transformer", "openclip", "imagebind"])
def test_families_of_transformers_are_compiled_by_block_in_bf16(load, family):
    encoder = load(family, "torch-cuda-bf16-compile")
    assert probe.cosines(probe.embed(encoder), encoder.reference_probe()).min() > 0.98
    assert encoder.backend == "torch-cuda-bf16-compile"  # no fallback to eager mode


def test_threads_and_streams_do_not_mix_their_results():
    """Two threads, each on a stream of its own, run two networks at once."""
    runs = [compiled("fp32", "eager"), compiled("fp32", "eager")]
    wrong = []

    def work(number):
        with torch.cuda.stream(torch.cuda.Stream()):
            for seed in range(50):
                x = pixels(70, seed=100 * number + seed)
                if not np.allclose(runs[number]([x])[0], expected(x), atol=2e-3):
                    wrong.append((number, seed))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_cuda_graph_gives_the_modules_numbers():
    module = Small().eval().requires_grad_(False).cuda()
    x = torch.randn(4, 3, SIZE, SIZE, device="cuda")
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.inference_mode():
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            module(x)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph):
            out = module(x)[0]
        for seed in range(3):
            torch.manual_seed(seed)
            x.copy_(torch.randn_like(x))
            graph.replay()
            torch.testing.assert_close(out, module(x)[0])


def memory():
    """Return the bytes of the device. Earlier tests' memory is given back first, because torch keeps it."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[1]


def test_too_little_memory_halves_the_passes():
    run = compiled("fp32", "eager", ballast=memory() // 20)  # room for fewer than 20 rows
    x = pixels(70)
    np.testing.assert_allclose(run([x])[0], expected(x), atol=2e-3)


def test_too_little_memory_for_one_row_is_one_clear_error():
    with pytest.raises(DeviceFull, match="cuda device has too little free memory for one item"):
        compiled("fp32", "eager", ballast=2 * memory())([pixels(3)])
    assert len(compiled("fp32", "eager")([pixels(3)])[0]) == 3  # the device works on


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_threads_on_one_network_get_their_own_rows(mode):
    """Few rows and many, on CUDA graphs and in passes, begun by four threads at once."""
    run = compiled("fp32", mode)
    given = [pixels(1 + 37 * seed % 90, seed) for seed in range(80)]
    with ThreadPoolExecutor(4) as pool:
        for x, found in zip(given, pool.map(run, [[x] for x in given]), strict=True):
            np.testing.assert_allclose(found[0], expected(x), atol=2e-3)


def engine_on(graphs, mode="eager", precision="fp32", cache=None):
    return TorchEngine("cuda", precision, mode=mode, graphs=graphs, cache=cache)


def small(build=lambda: Small().eval().requires_grad_(False), key="small"):
    return Graph(key=key, libraries=(), build=build, ports=(Port((SIZE, SIZE, 3), "uint8"),), normalise=IMAGE)


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_give_the_rows_of_plain_passes(mode, precision):
    recorded, plain = (engine_on(graphs, mode, precision).compile(small()) for graphs in (True, False))
    for rows in (1, 2, 3, 5, 8, 13, 31, 32, 3, 1):  # a size comes again, with other rows in its padding
        x = pixels(rows, rows)
        np.testing.assert_allclose(recorded([x])[0], plain([x])[0], atol=3e-3)
    assert sorted(recorded._few._made) == [1, 2, 4, 8, 16, 32]
    assert not plain._few


@pytest.mark.parametrize("mode", ["eager", "compile"])
@pytest.mark.parametrize("family", ["lite0", "openclip"])
def test_families_are_recorded(load, family, mode, caplog):
    encoder = load(family, f"torch-cuda-fp16-{mode}")
    rows = np.stack([encoder.prepare(image) for image in probe.images()])
    together = encoder.embed(rows).vectors
    alone = np.concatenate([encoder.embed(rows[i : i + 1]).vectors for i in range(5)])
    assert probe.cosines(together, alone).min() > 0.9999
    assert "not recorded" not in caplog.text


class Stubborn(Small):
    def forward(self, x):
        x.sum().item()  # waits for the device, which no graph can hold
        return super().forward(x)


def test_a_network_that_no_graph_can_hold_runs_without(caplog):
    run = engine_on(graphs=True).compile(small(lambda: Stubborn().eval().requires_grad_(False), "stubborn"))
    for rows in (3, 1, 40, 3):
        np.testing.assert_allclose(run([pixels(rows, rows)])[0], expected(pixels(rows, rows)), atol=2e-3)
    assert caplog.text.count("not recorded") == 1
    other = engine_on(graphs=True).compile(small())  # the failed recording left the device in order
    np.testing.assert_allclose(other([pixels(3)])[0], expected(pixels(3)), atol=2e-3)
    assert other._few._made


def test_recording_one_network_does_not_disturb_the_passes_of_another():
    busy, wrong, done = engine_on(graphs=True).compile(small()), [], threading.Event()

    def work():
        seed = 0
        while not done.is_set():
            x, seed = pixels(1 + seed % 70, seed), seed + 1
            if not np.allclose(busy([x])[0], expected(x), atol=2e-3):
                wrong.append(seed)

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
        for number in range(5):
            other = engine_on(graphs=True).compile(small(key=f"other {number}"))
            for rows in (1, 2, 4, 8, 16, 32):
                np.testing.assert_allclose(other([pixels(rows)])[0], expected(pixels(rows)), atol=2e-3)
        done.set()
        for worker in workers:
            worker.result(60)
    assert not wrong


def test_rows_of_a_pass_are_measured_once_and_remembered(tmp_path, monkeypatch):
    pace = engine_on(True, cache=Cache(tmp_path)).compile(small()).pace
    assert pace.rows in CANDIDATES
    assert pace.lanes == 2
    monkeypatch.setattr("embedder.engines.torch_engine.fewest", None)  # it would fail if it were called
    again = engine_on(True, cache=Cache(tmp_path)).compile(small())
    assert again.pace == pace
    x = pixels(pace.rows + 40)
    np.testing.assert_allclose(again([x])[0], expected(x), atol=2e-3)


def test_measuring_takes_no_more_than_two_seconds():
    run = engine_on(graphs=True).compile(small(lambda: Heavy(300).eval().requires_grad_(False), "heavy"))
    run([pixels(1)])  # loads kernels
    start = time.perf_counter()
    assert run.pace.rows in CANDIDATES
    assert time.perf_counter() - start < 2


class Heavy(Small):
    """A network whose passes take milliseconds: `repeats` products of large matrices."""

    def __init__(self, repeats):
        super().__init__()
        self.repeats = repeats

    def forward(self, x):
        square = torch.zeros(2048, 2048, device=x.device, dtype=x.dtype)
        for _ in range(self.repeats):
            square = square @ square
        return (super().forward(x)[0] + square[0, 0],)


def test_a_second_call_is_launched_while_the_first_is_computed():
    """Two calls are under way: beginning both takes less time than computing one."""
    device = shared(torch.device("cuda"))
    module = Heavy(300).eval().requires_grad_(False).cuda()

    def forward(x):
        return module(x.permute(0, 3, 1, 2).float() / 255)

    x = pixels(64)
    device.start(forward, [x])()  # loads kernels
    start = time.perf_counter()
    waits = [device.start(forward, [x]) for _ in range(2)]
    launched = time.perf_counter() - start
    first, second = (wait()[0] for wait in waits)
    computed = time.perf_counter() - start
    np.testing.assert_array_equal(first, second)
    assert launched < computed / 2


def test_calls_of_two_threads_overlap_on_the_engine():
    """One thread waits for its rows; the other begins its own meanwhile, without waiting for a lock."""
    run = engine_on(graphs=False).compile(small(lambda: Heavy(300).eval().requires_grad_(False), "heavy"))
    x = pixels(16)
    run([x])
    device, under_way, most = run._device, [], []
    start = device.start

    def noted(forward, arrays):
        wait = start(forward, arrays)
        under_way.append(1)
        most.append(len(under_way))

        def waited():
            outputs = wait()
            under_way.pop()
            return outputs

        return waited

    device.start = noted
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, [[x]] * 12))
    finally:
        del device.start
    assert max(most) == 2


def test_graphs_are_dropped_when_memory_is_short():
    free, _ = torch.cuda.mem_get_info()
    run = compiled("fp32", "eager", ballast=free // 40)
    x = pixels(2)
    np.testing.assert_allclose(run([x])[0], expected(x), atol=2e-3)
    run._most, many = 64, pixels(64)  # does not fit, whatever is dropped
    np.testing.assert_allclose(run([many])[0], expected(many), atol=2e-3)
    assert run._few._made == {}
    np.testing.assert_allclose(run([x])[0], expected(x), atol=2e-3)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_same_rows(tmp_path):
    both = on_devices(["cuda:0", "cuda:1"], lambda device: TorchEngine(device, "fp32", mode="eager"))
    run = both.compile(small())
    given = [pixels(1 + 37 * seed % 90, seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for x, found in zip(given, pool.map(run, [[x] for x in given]), strict=True):
            np.testing.assert_allclose(found[0], expected(x), atol=2e-3)
    assert run.pace.lanes == 4
