"""The pictures in memory: those asked for last, within a number of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from services.classification.view.pictures import Picture
from services.classification.view.thumbnails import Kept

KEYS = st.tuples(st.sampled_from("abcdef"), st.sampled_from([128, 256]))


def picture(size: int) -> Picture:
    return Picture("image/jpeg", bytes(size), 1, 1)


@given(st.lists(st.tuples(KEYS, st.integers(0, 5000) | st.none())), st.sampled_from([0, 700, 5000, 20_000]))
def test_the_pictures_that_were_used_last_are_kept_as_far_as_they_fit(steps, most):
    """Compared with a plain list: the last used first, cut off where the bytes are used up."""
    kept, used = Kept(most), []
    for key, size in steps:
        before = dict(used).get(key)
        if size is None:
            found = kept.get(key)
            assert found is before
            used = ([(key, found)] if found else []) + [each for each in used if each[0] != key]
            continue
        drawn = picture(size)
        kept.put(key, drawn)
        used = [(key, drawn), *(each for each in used if each[0] != key)]
        while sum(len(each.data) + 600 for _, each in used) > most:
            used.pop()
        assert kept.bytes == sum(len(each.data) + 600 for _, each in used) <= most
    assert [kept.get(key) for key, _ in used] == [each for _, each in used]
