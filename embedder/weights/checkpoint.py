"""Checkpoints: files of weights, read strictly. A network with random weights must never come out of this package."""

import hashlib
import os
import pickle
import textwrap
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file

from embedder.errors import CheckpointNotTrusted, WeightsError

State = dict[str, torch.Tensor]
"""Tensors by name, as in `torch.nn.Module.state_dict`."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

M = TypeVar("M", bound=torch.nn.Module)


def read_state(path: Path, *, trusted: bool = False) -> State:
    """Return the tensors of a file by name, on the CPU, in the order of the file.

    No Python code of the file is run. A TorchScript archive is read by `torch.jit.load`, which torch itself calls
    unsafe for untrusted archives, so only a trusted one is opened. A training checkpoint's ``state_dict`` is unwrapped,
    and so is the ``module.`` of DistributedDataParallel.

    Args:
        trusted: True confirms that whoever made the file is trusted, which TorchScript archives need.

    Raises WeightsError for a file that is missing, unreadable, of another format, or not a state dict;
    CheckpointNotTrusted for a TorchScript archive that is not trusted.
    """
    if not os.path.isfile(path):  # Path.is_file raises OSError for a name that is too long
        raise WeightsError(f"no checkpoint at {path}; give the path of a file ({', '.join(SUFFIXES)})")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"cannot read the checkpoint {path}: its suffix must be one of {', '.join(SUFFIXES)}")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_pickled(path, trusted)
    except CheckpointNotTrusted:
        raise
    except pickle.UnpicklingError as error:  # its message recommends to run the file's code
        raise WeightsError(
            f"the checkpoint {path} is damaged or holds more than tensors; fetch it again, or save model.state_dict()"
        ) from error
    except Exception as error:  # torch raises many types for a damaged file
        raise WeightsError(
            f"the checkpoint {path} is damaged or cannot be read ({_short(error)}); fetch it again"
        ) from error
    return _unwrap(content, path)


def _load_pickled(path: Path, trusted: bool) -> object:
    """Load a ``torch.save`` file, or a TorchScript archive, the format of OpenAI's CLIP models.

    An archive that this function does not recognise as TorchScript is not run either: `torch.load` refuses it.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if is_script and not trusted:
            raise CheckpointNotTrusted(path)
        if is_script:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch has deprecated the one function that reads them
                return dict(torch.jit.load(path, map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    # Memory-mapped, unused tensors stay on disk: a model with several towers is built one tower at a time.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _unwrap(content: object, path: Path) -> State:
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(map(_is_named_tensor, content.items())):
        raise WeightsError(f"the checkpoint {path} is not a state dict (tensors by name); save model.state_dict()")
    if content and all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): tensor for name, tensor in content.items()}
    return dict(content)


def _is_named_tensor(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _short(error: Exception) -> str:
    """Return the message of a library's error in one line."""
    return textwrap.shorten(str(error), 400, placeholder=" …") or type(error).__name__


def load_strictly(module: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    """Fill `module` from `state`. Every key and every shape must match. Raises WeightsError, which names `source`."""
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"the weights in {source} do not fit the architecture; give weights of this architecture ({_short(error)})"
        ) from error


def write_state(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as a file of safetensors. Tensors that share memory are written once for each name."""
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}, path)


def digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 over names, shapes and values, in the order of the names.

    Values are taken as float32 (integers as int64), so equal values have equal digests whatever the file format and
    the stored precision.
    """
    total = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        dtype = torch.float32 if tensor.is_floating_point() else torch.int64
        total.update(f"{name} {tuple(tensor.shape)} {dtype}\n".encode())
        total.update(tensor.to(dtype).contiguous().numpy().tobytes())
    return total.hexdigest()


def check_digest(found: str, expected: str, source: str) -> None:
    """Raise WeightsError, which names `source`, unless the digests are equal."""
    if found != expected:
        raise WeightsError(f"{source} holds other weights than expected: sha256 {found}, not {expected}; reinstall it")


def frozen(module: M) -> M:
    """Return the module in eval mode, its parameters without gradients."""
    return module.eval().requires_grad_(False)
