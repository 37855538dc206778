"""Reads the pickles of CIFAR without running what a pickle says.

`pickle.load` calls any function that a file names. These files need two: the one that makes an empty NumPy array, and
`numpy.dtype`. Both are replaced by stand-ins that keep what they are given, so that no code of NumPy or of another
package runs, and a file that names anything else is refused. A file is also refused before it is loaded if it has an
instruction that CIFAR does not use, or one that would take more memory than the file is long.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from store.errors import BadSource


class Bytes(NamedTuple):
    """An array of uint8 in a pickle.

    Attributes:
        shape: its shape.
        data: its numbers in C order.
    """

    shape: tuple[int, ...]
    data: bytes


class _Array:
    """Stand-in for an array. `state` is what its pickle would hand to NumPy."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Dtype(_Array):
    """Stand-in for a dtype, with the name that its pickle gives."""

    __slots__ = ("name",)

    def __init__(self, name: object = None, *_: object) -> None:
        super().__init__()
        self.name = name


class _Made:
    """Stand-in for a function or class of NumPy. A pickle can call it, but cannot set its attributes."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, _: object) -> None:
        raise pickle.UnpicklingError("it changes a function")


ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}
"""The stand-in for each name that a pickle of CIFAR contains."""


OPCODES = frozenset(
    [
        *("PROTO", "STOP", "MARK", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "NONE", "NEWTRUE", "NEWFALSE"),
        *("BININT", "BININT1", "BININT2", "SHORT_BINSTRING", "BINSTRING"),
        *("GLOBAL", "REDUCE", "BUILD", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    ]
)
"""The instructions of protocol 2 with which Python 2 wrote dictionaries of texts, lists of numbers and arrays."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module[:40]}.{name[:40]}, which no file of CIFAR does")
        return _Made(ALLOWED[module, name])


def unpickle(data: bytes, name: str) -> dict[str, object]:
    """Return the dictionary in a pickle of CIFAR. Arrays are `Bytes`; texts are bytes, but for its keys.

    Args:
        name: of the file, for messages.

    Raises BadSource if the data are no such pickle.
    """
    try:
        _check_opcodes(data)
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if type(found) is not dict:
            raise pickle.UnpicklingError("it holds no dictionary")
        return {_text(key): _bytes(value) if isinstance(value, _Array) else value for key, value in found.items()}
    except Exception as error:  # a damaged pickle makes the unpickler raise almost anything
        raise BadSource(f"{name} is damaged, or no file of CIFAR: {error}") from error


def _check_opcodes(data: bytes) -> None:
    """Raise UnpicklingError for an instruction that is not in OPCODES, and for a place in the memo that is too far.

    The unpickler reserves memory up to the highest place. Picklers number the places by one.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"it has the instruction {opcode.name}, which no file of CIFAR has")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and (not isinstance(argument, int) or argument > number):
            raise pickle.UnpicklingError(f"it numbers an object {argument}, though it has {number} instructions so far")


def _text(key: object) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


def _bytes(array: _Array) -> Bytes:
    state = array.state
    if not isinstance(state, tuple) or len(state) != 5:
        raise pickle.UnpicklingError("an array has no numbers")
    _, shape, dtype, columns_first, data = state
    if not isinstance(dtype, _Dtype) or dtype.name not in (b"u1", "u1") or columns_first:
        raise pickle.UnpicklingError("an array is not of uint8 in C order")
    if not isinstance(data, bytes) or type(shape) is not tuple or not all(type(size) is int for size in shape):
        raise pickle.UnpicklingError("an array has no shape or no numbers")
    return Bytes(shape, data)
