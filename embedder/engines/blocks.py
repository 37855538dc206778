"""Compiling networks for CUDA: transformers block by block, all other networks whole.

A transformer repeats one block dozens of times. Compiling the block once takes seconds; compiling the whole network
takes minutes and gives no faster code, because the large products between the fused parts stay what they are.
Convolutional networks change their shapes from block to block and gain from fusion across blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, groupby
from types import FunctionType
from typing import TypeVar, cast

import torch

from embedder.engines.folded import FromPixels

Outputs = tuple[torch.Tensor, ...]
Function = TypeVar("Function", bound=Callable[..., object])

_NUMBERS = count()
_LISTS = (torch.nn.ModuleList, torch.nn.Sequential)
_CONVOLUTIONS = torch.nn.modules.conv._ConvNd
_LEAST_SHARE = 0.5
"""A network is compiled block by block if its blocks hold this share of its parameters, tables of tokens left out."""


class Compiled:
    """A network that torch compiles while it answers its first calls. Calls raise the errors of the compiler, too.

    Each kind of block is compiled for one row and for any other number of rows.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module, self._is_on = module, True
        blocks = [block for blocks in repeated(module) for block in blocks]
        self._run: Callable[..., Outputs] = module if blocks else partial(_compiled(_call, None), module)
        for kind in _kinds(blocks):
            self._compile(kind, dynamic=True)
        if blocks and isinstance(module, FromPixels):
            self._compile([module.normalise], dynamic=None)

    def __call__(self, *inputs: torch.Tensor) -> Outputs:
        return self._run(*inputs)

    def eager(self, *inputs: torch.Tensor) -> Outputs:
        """Return the outputs without any compiled code. If that works, no later call compiles anything."""
        was_on, self._is_on = self._is_on, False
        try:
            return _call(self._module, *inputs)
        except Exception:
            self._is_on = was_on
            raise

    def _compile(self, blocks: Sequence[torch.nn.Module], *, dynamic: bool | None) -> None:
        """Let blocks that are alike run compiled code, which they share."""
        run = _compiled(_forward, dynamic)

        def forward(block: torch.nn.Module, *args: object, **options: object) -> object:
            # torch compiles anew for other strides, and only the first block gets a transposed view
            plain = [x.contiguous() if isinstance(x, torch.Tensor) else x for x in args]
            return (run if self._is_on else _forward)(block, *plain, **options)

        for block in blocks:
            block.forward = partial(forward, block)


def repeated(module: torch.nn.Module) -> list[Sequence[torch.nn.Module]]:
    """Return the lists of equal blocks of which a network mainly consists; none if it should be compiled whole."""
    lists = [*_lists(module)]
    if not lists or any(isinstance(part, _CONVOLUTIONS) for blocks in lists for b in blocks for part in b.modules()):
        return []
    inside = sum(_numbers(block) for blocks in lists for block in blocks)
    tables = sum(_numbers(part) for part in module.modules() if isinstance(part, torch.nn.Embedding))
    return lists if inside >= _LEAST_SHARE * (_numbers(module) - tables) else []


def _lists(module: torch.nn.Module) -> Iterator[Sequence[torch.nn.Module]]:
    """Yield the outermost lists of at least two blocks of one class with tensors of the same shapes."""
    children = [*module.children()]
    if isinstance(module, _LISTS) and len(children) > 1 and all(map(_is_block, children)):
        first, *rest = ((type(child), _shapes(child)) for child in children)
        if all(each == first for each in rest):
            yield children
            return
    for child in children:
        yield from _lists(child)


def _is_block(module: torch.nn.Module) -> bool:
    """True for a module with parts and numbers whose `forward` is that of its class."""
    has_parts = next(module.children(), None) is not None
    return has_parts and _numbers(module) > 0 and "forward" not in vars(module)


def _shapes(module: torch.nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, tensor.shape) for name, tensor in module.state_dict().items()]


def _numbers(module: torch.nn.Module) -> int:
    """Return how many numbers the tensors of a module hold; tensors with two names count once."""
    return sum({id(tensor): tensor.numel() for tensor in (*module.parameters(), *module.buffers())}.values())


def _kinds(blocks: Sequence[torch.nn.Module]) -> list[list[torch.nn.Module]]:
    """Group blocks for which torch can use the same code: their parts have the same types and shapes."""

    def kind(block: torch.nn.Module) -> str:
        parts = [(name, f"{type(part).__module__}.{type(part).__qualname__}") for name, part in block.named_modules()]
        return repr((parts, _shapes(block)))

    return [[*group] for _, group in groupby(sorted(blocks, key=kind), key=kind)]


def _forward(block: torch.nn.Module, *args: object, **options: object) -> object:
    return type(block).forward(block, *args, **options)


def _call(module: torch.nn.Module, *inputs: torch.Tensor) -> Outputs:
    outputs: Outputs = module(*inputs)
    return outputs


def _compiled(call: Function, dynamic: bool | None) -> Function:
    """Return a compiled copy of a function, with a code object and a name of its own.

    torch keeps compiled code with the code object, and stops compiling when one has eight variants. By the name it
    remembers which sizes differed between calls, and makes them symbols: with symbols for height and width, compiling
    lite0 took minutes. Networks must share neither.
    """
    name = f"{call.__name__}_{next(_NUMBERS)}"
    copy = FunctionType(call.__code__.replace(co_name=name), globals(), name)
    return cast(Function, torch.compile(copy, dynamic=dynamic))
