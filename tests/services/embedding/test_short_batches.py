"""Long texts are embedded in small batches, so that images do not wait for them."""

from hypothesis import given
from hypothesis import strategies as st

from services.embedding.worker import CHARACTERS_A_PASS, _short_batches


@given(st.lists(st.integers(0, 2 * CHARACTERS_A_PASS).map(lambda size: "x" * size), max_size=20))
def test_batches_hold_all_texts_in_order_and_are_as_large_as_they_may_be(texts):
    batches = list(_short_batches(texts))
    assert [text for batch in batches for text in batch] == texts
    sizes = [sum(map(len, batch)) for batch in batches]
    assert all(batch for batch in batches)
    assert all(size <= CHARACTERS_A_PASS or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    assert all(size + len(after[0]) > CHARACTERS_A_PASS for size, after in zip(sizes[:-1], batches[1:], strict=True))
