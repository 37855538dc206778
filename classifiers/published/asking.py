"""The choice of the inputs to embed for each item of a request, and of the head that answers for it.

A fused head answers from the encoders that are there. A cascade calls the expensive encoders only for items on which
the cheap ones are uncertain. These functions choose; the caller embeds until they return no more inputs:

    while wanted := next_inputs(heads, found): ...  # embed the items of every input and put them into `found`
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from classifiers.published.head import PublishedHead
from classifiers.published.inputs import ByInput, Input


def next_inputs(heads: Sequence[PublishedHead], found: ByInput, *, all_steps: bool = False) -> dict[Input, list[int]]:
    """Return the inputs to embed next, each with the numbers of its items; empty when the heads can answer.

    A cascade needs its first step for every item, then each next step for the items on which it is still uncertain. All
    other heads need all their inputs at once; so does a cascade if one of the heads' inputs is not in `found`.

    Args:
        found: the items of every available input. An item that is not embedded yet has neither vector nor error.
        all_steps: True to embed all inputs of a cascade at once.
    """
    everything = all_steps or any(each not in found for head in heads for each in head.inputs)
    wanted: dict[Input, set[int]] = defaultdict(set)
    for head in heads:
        steps = () if everything else head.steps
        for first in steps[:1] or head.inputs:
            column = found.get(first, ())
            wanted[first].update(i for i, item in enumerate(column) if item.vector is None and item.error is None)
        for step, items in uncertain(head, found) if steps else ():
            wanted[step].update(items)
    return {each: sorted(items) for each, items in wanted.items() if items}


def uncertain(head: PublishedHead, found: ByInput) -> Iterator[tuple[Input, list[int]]]:
    """Yield the next steps of a cascade, each with the items on which the steps before it are uncertain."""
    for stopped, vectors in answerable(head, found):
        if stopped.asked:
            unsure = stopped.unsure(np.stack(list(vectors.values())))
            yield head.steps[len(stopped.asked)], np.array(list(vectors))[unsure].tolist()


def answerable(head: PublishedHead, found: ByInput) -> Iterator[tuple[PublishedHead, dict[int, NDArray[np.float32]]]]:
    """Yield the items that a head can answer, in groups that have vectors of the same inputs.

    A group is the head for exactly these inputs, and {item number: vector (d,)}, the inputs' vectors side by side. An
    item with neither vector nor error was not embedded for this input: a cascade stops at the steps before it.
    """
    own = {each: found[each] for each in head.inputs if each in found}
    groups: dict[tuple[tuple[Input, ...], bool], list[int]] = defaultdict(list)
    for i, parts in enumerate(zip(*own.values(), strict=True)):
        there = tuple(each for each, part in zip(own, parts, strict=True) if part.vector is not None)
        stopped = len(there) < len(own) and not any(part.error for part in parts)
        if head.can_answer(there):
            groups[there, stopped].append(i)
    for (there, stopped), items in groups.items():
        answering = head.stopped_before(there) if stopped else head.from_some(there)
        columns = [found[each] for each in answering.inputs]
        yield answering, {i: np.concatenate([column[i].vector for column in columns]) for i in items}


def require(heads: Sequence[PublishedHead], found: Collection[Input], problems: Sequence[Exception] = ()) -> None:
    """Raise the first of the problems, or WrongFingerprint, if a head cannot answer from the inputs that were found."""
    for head in heads:
        if problems and not head.can_answer(found):
            raise problems[0]
        head.require(found)
