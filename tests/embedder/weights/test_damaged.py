"""Damaged files of weights are either read or refused with WeightsError, in one sentence that says what to do."""

import contextlib
import json
import pickle
import random
import warnings
import zipfile
from collections import OrderedDict
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from embedder.errors import CheckpointNotTrusted, WeightsError
from embedder.weights import hub_folder
from embedder.weights.checkpoint import load_strictly, read_state

SHARDS = ("model-1.safetensors", "model-2.safetensors")
INDEX, PREPROCESSOR = "model.safetensors.index.json", "preprocessor_config.json"
REMEDIES = ("fetch it again", "fetch the folder again", "save model.state_dict()", "give the path of a file")


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).eval()


def save_script(state, path):
    model = network()
    model.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has deprecated TorchScript
        torch.jit.save(torch.jit.script(model), path)


WRITERS = {
    "zipped.pt": torch.save,
    "older.pth": partial(torch.save, _use_new_zipfile_serialization=False),
    "training.bin": lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path),
    "plain.safetensors": save_file,
    "script.pt": save_script,
}
"""The formats of `read_state`, by the name of a file."""

FOLDER_FILES = {
    INDEX: {"metadata": {"total_size": 3}, "weight_map": dict(zip("ab", SHARDS, strict=True))},
    PREPROCESSOR: {
        "crop_size": {"height": 224, "width": 224},
        "size": {"shortest_edge": 224},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.1, 0.2, 0.3],
    },
}


def read_folder(folder):
    hub_folder.state(folder)
    hub_folder.preprocessing(folder, 224)


@pytest.fixture
def folder(tmp_path):
    for name in SHARDS:
        save_file(network().state_dict(), tmp_path / name)
    for name, fields in FOLDER_FILES.items():
        (tmp_path / name).write_text(json.dumps(fields))
    return tmp_path


def damaged(content, rng):
    """Return the bytes with one to five random faults, most of them near either end, where headers are."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        near = rng.randrange(min(400, len(content)))
        start = rng.choice((near, len(content) - 1 - near, rng.randrange(len(content))))
        stop = start + rng.randrange(1, 30)
        other = rng.randrange(len(content))
        content[start:stop] = rng.choice(
            (
                bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 : stop],  # one bit is flipped
                b"",  # a piece is missing
                rng.randbytes(stop - start) + content[start:stop],  # noise is inserted
                content[other : other + stop - start],  # a piece is in another place
            )
        )
        if rng.random() < 0.2:
            del content[max(1, start) :]
    return bytes(content)


def refusals(path, read, rounds, seed=0):
    """Return the errors of a reader for damaged forms of the file at `path`. Any other exception fails the test."""
    whole, rng, found = path.read_bytes(), random.Random(seed), []
    for _ in range(rounds):
        path.unlink()  # the last form may still be mapped into memory
        path.write_bytes(damaged(whole, rng))
        try:
            read()
        except WeightsError as error:
            found.append(str(error))
    return found


def check_sentences(refused, rounds):
    assert len(refused) > rounds / 10
    for told in refused:
        assert "\n" not in told
        assert any(remedy in told for remedy in REMEDIES), told


@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_checkpoint_is_read_or_refused(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](network().state_dict(), path)
    assert read_state(path, trusted=True).keys() == network().state_dict().keys()
    check_sentences(refusals(path, lambda: read_state(path, trusted=True), 300), 300)


@pytest.mark.parametrize("name", FOLDER_FILES)
def test_a_damaged_folder_is_read_or_refused(name, folder):
    read_folder(folder)
    check_sentences(refusals(folder / name, lambda: read_folder(folder), 300), 300)


def test_a_zip_directory_that_is_broken_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(network().state_dict(), path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02")] ^= 1
    path.write_bytes(content)
    assert zipfile.is_zipfile(path)
    with pytest.raises(WeightsError, match=r"a\.pt is damaged .*; fetch it again"):
        read_state(path)


@pytest.mark.parametrize("content", [{0: torch.zeros(2)}, {"a": 1}, [1, 2], {"state_dict": None}])
def test_content_that_is_no_state_dict_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"is not a state dict \(tensors by name\); save model.state_dict\(\)"):
        read_state(tmp_path / "a.pt")


def test_code_in_a_file_is_not_run_and_not_recommended(tmp_path):
    """torch's own message for such a file recommends to load it with `weights_only=False`, which runs the code."""
    torch.save({"a": partial(print, "run")}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="holds more than tensors") as caught:
        read_state(tmp_path / "a.pt")
    assert "weights_only" not in str(caught.value)


def test_an_archive_with_code_is_opened_only_if_it_is_trusted(tmp_path, monkeypatch):
    """Neither unpickled nor run before: both functions that could do so would fail the test."""
    path = tmp_path / "archive.pt"
    save_script(network().state_dict(), path)
    assert read_state(path, trusted=True).keys() == network().state_dict().keys()

    def opened(*_, **__):
        raise AssertionError("the archive was opened")

    monkeypatch.setattr(torch.jit, "load", opened)
    monkeypatch.setattr(torch, "load", opened)
    with pytest.raises(CheckpointNotTrusted, match="TorchScript archive, which may run code") as refused:
        read_state(path)
    assert refused.value.path == path
    copy = pickle.loads(pickle.dumps(refused.value))
    assert (str(copy), copy.path) == (str(refused.value), path)


def test_an_archive_in_disguise_is_not_run(tmp_path, monkeypatch):
    """zipfile lists the last directory of a file; torch must not run an archive that zipfile does not see."""
    script, path = tmp_path / "script.pt", tmp_path / "disguised.pt"
    save_script(network().state_dict(), script)
    plain = tmp_path / "plain.pt"
    torch.save(network().state_dict(), plain)
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("run"))
    for content in (script.read_bytes() + plain.read_bytes(), plain.read_bytes() + script.read_bytes()):
        path.write_bytes(content)
        with contextlib.suppress(WeightsError):
            read_state(path)


def test_tensors_alone_need_no_trust(tmp_path):
    for name in ("zipped.pt", "older.pth", "training.bin", "plain.safetensors"):
        WRITERS[name](network().state_dict(), tmp_path / name)
        assert read_state(tmp_path / name).keys() == network().state_dict().keys()


@pytest.mark.parametrize("index", [True, False])
def test_a_link_out_of_the_folder_is_refused(index, folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.safetensors"
    save_file(network().state_dict(), outside)
    name = SHARDS[0] if index else hub_folder.WEIGHTS
    if not index:
        (folder / INDEX).unlink()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(WeightsError, match=rf"{name} is a link to a file outside the folder; .*fetch it again"):
        hub_folder.state(folder)


def test_links_inside_the_cache_of_a_hub_are_followed(folder, tmp_path_factory):
    repository = tmp_path_factory.mktemp("models--a--b")
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name in (INDEX, *SHARDS):
        (repository / "blobs" / f"sha-{name}").write_bytes((folder / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/sha-{name}")
    assert hub_folder.state(snapshot).keys() == network().state_dict().keys()


def test_a_name_that_is_too_long_for_a_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint at"):
        read_state(tmp_path / ("a" * 5000 + ".pt"))


def test_weights_that_do_not_fit_give_one_line():
    state = OrderedDict((f"layer{i}.weight", torch.zeros(1)) for i in range(1000))
    with pytest.raises(WeightsError, match=r"the weights in here do not fit .*0\.weight") as caught:
        load_strictly(network(), state, "here")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "[" * 100_000,
        '{"weight_map": {}}',
        '{"weight_map": ["model-1.safetensors"]}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": ["model-1.safetensors"]}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        r'{"weight_map": {"a": "x\ny.safetensors"}}',
        '{"weight_map": {"a": "../other/model-1.safetensors"}}',
    ],
)
def test_an_index_without_names_of_files_in_the_folder_is_refused(content, folder):
    (folder / INDEX).write_text(content)
    with pytest.raises(WeightsError, match=r"index\.json .*; fetch the folder again"):
        hub_folder.state(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"resample": []},
        {"rescale_factor": "1"},
        {"crop_size": {"height": [1], "width": 224}},
        {"size": {"shortest_edge": 100}},
        {"image_mean": 5},
        {"image_mean": "abc"},
        {"image_mean": [10**400, 0, 0]},
        {"image_std": [0.1, 0.1]},
        {"image_std": [0, 0, 0]},
        {"image_std": [float("nan")] * 3},
    ],
)
def test_preprocessing_of_another_form_is_refused(fields, folder):
    (folder / PREPROCESSOR).write_text(json.dumps(FOLDER_FILES[PREPROCESSOR] | fields))
    with pytest.raises(
        WeightsError, match=r"preprocessor_config\.json cannot be used: .*; fetch (it|the folder) again"
    ):
        hub_folder.preprocessing(folder, 224)
