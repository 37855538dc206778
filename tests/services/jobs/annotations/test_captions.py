"""Which labels are taken as captions."""

import pytest

from services.jobs.annotations.captions import are_captions


def counted(labels: list[str], rows: int = 1) -> dict[str, dict[str, int]]:
    return {label: {"train": rows} for label in labels} | {"": {"train": 50}}


SENTENCES = [f"a dog and {n} cats" for n in range(40)]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (counted(SENTENCES), True),
        (counted(SENTENCES[:36]) | counted(["a photo of a dog", "another one of a cat"], 9), True),
        (counted(SENTENCES[:15]), False),  # few sentences may be classes
        (counted(SENTENCES, 2), False),  # several rows each, as classes have
        (
            counted(SENTENCES[:36]) | counted(SENTENCES[36:], 9) | counted([f"this is class {n}" for n in "ab"], 9),
            False,
        ),
        (counted([f"great white shark{n}" for n in range(40)]), False),  # names of classes, one photo each
        (counted([]), False),
    ],
)
def test_captions_are_many_different_texts_of_several_words(classes, expected):
    assert are_captions(classes) is expected
