"""Mutated files of every format: an asset or a typed error, in time, and no process ends.

`tests/embedder/media/test_confined.py` decodes some in `make test`. The long proof is a command:
``python -m tests.faults --inputs 1000000``.
"""

import pytest

from tests.faults import broken, inputs


@pytest.mark.slow
def test_some_thousand_mutated_files():
    found = inputs.decode_all(1, range(4000), processes=2)
    print(found)
    assert found.violations == {}
    assert sum(found.outcomes.values()) == 4000
    assert {reason for _, reason in found.outcomes} >= {"asset", "truncated", "unsupported", "empty"}


@pytest.mark.parametrize(
    ("read", "told"),
    [(broken.raises, "KeyError: 'odd'"), (broken.aborts, "ended its process"), (broken.hangs, "too long")],
)
def test_every_broken_promise_of_a_decoder_is_noticed(read, told):
    found = inputs.decode_all(1, range(3), processes=3, read=read, seconds=1.0)
    assert set(found.violations) == {0, 1, 2}
    assert all(told in violation for violation in found.violations.values())


def test_an_item_is_given_again_by_its_number():
    assert inputs.item(1, 40) == inputs.item(1, 40)
    assert inputs.item(1, 40)[1] != inputs.item(2, 40)[1]
