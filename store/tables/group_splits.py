"""Splits of groups: all rows of a speaker, patient or site get one split, so that test figures hold for new ones."""

from collections import Counter
from collections.abc import Mapping

from store.schema import FRACTIONS

SPLITS = ("train", "val", "test")


def proposed(sizes: Mapping[str, int], stored: Mapping[tuple[str | None, str], int]) -> dict[str, str]:
    """Return the split of each group.

    A group with stored rows gets the split that most of them have. The others follow, the largest first: each gets the
    split that lacks most rows of its share (`FRACTIONS`). So a few groups give a training and a test split too.

    Args:
        sizes: {group: number of new rows}.
        stored: {(group or None, split): number of stored rows}.
    """
    known: dict[str, Counter[str]] = {}
    rows = Counter[str]()
    for (group, split), count in stored.items():
        rows[split] += count
        if group is not None and group in sizes and split in SPLITS:
            known.setdefault(group, Counter())[split] += count
    found = {group: counts.most_common(1)[0][0] for group, counts in known.items()}
    for group, split in found.items():
        rows[split] += sizes[group]
    total = sum(rows[split] for split in SPLITS) + sum(size for group, size in sizes.items() if group not in found)
    shares = dict(zip(SPLITS, FRACTIONS, strict=True))
    for group, size in sorted(sizes.items(), key=lambda each: (-each[1], each[0])):
        if group not in found:
            found[group] = max(SPLITS, key=lambda split: shares[split] * total - rows[split])
            rows[found[group]] += size
    return found
