"""Brief answers say what whole answers say, for every kind of head."""

import numpy as np
import pytest
from helpers.toys import LABEL_VARIANTS, VARIANTS, fitted, make_toy, record_of

from classifiers.published.head import PublishedHead
from classifiers.published.many import answer_briefly, answer_many
from classifiers.published.registry import Registry


@pytest.fixture(scope="module", params=["gaussian", "fusion", "linear", "labelwise", "bilinear"])
def published(request, tmp_path_factory) -> PublishedHead:
    assert request.param in VARIANTS | LABEL_VARIANTS
    toy = make_toy()
    head = fitted(request.param, toy).head_
    registry = Registry(tmp_path_factory.mktemp("brief"))
    registry.publish("h", head, record_of(head, toy))
    return registry.load("h")


def test_brief_answers_are_those_of_answer_many(published):
    X = np.vstack([make_toy(seed=3).X, np.full((1, 12), 3e38, np.float32)])
    brief, whole = answer_briefly(published, X), answer_many(published, X, top_k=2)
    fine = whole.finite
    assert brief.label[fine].tolist() == whole.top[fine, 0].tolist()
    assert brief.probability[fine].tolist() == whole.probabilities[fine, 0].tolist()
    assert brief.label[~fine].tolist() == [-1] * (~fine).sum()
    assert np.isnan(brief.margin).tolist() == (~fine).tolist()
    sizes = np.diff(whole.ends, prepend=0) if whole.members is not None else np.zeros(len(X))
    assert brief.set_size[fine].tolist() == sizes[fine].tolist()
    if whole.given is None:
        assert brief.given is None
        assert brief.margin[fine] == pytest.approx(-np.diff(whole.probabilities[fine])[:, 0], abs=1e-6)
    else:
        one, two = (np.diff(each.given_ends, prepend=0)[fine].tolist() for each in (brief, whole))
        assert one == two
