"""The pace of an encoder: which calls keep it busy."""

from helpers.blocks import Blocks
from helpers.paced import Paced

from embedder import registry
from embedder.encoder import HasPace, Pace, pace_of
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder


def test_an_encoder_that_does_not_know_its_pace_gets_one_call_of_32_rows():
    assert not isinstance(Blocks(), HasPace)
    assert pace_of(Blocks(), "image") == Pace(32, 1)


def test_a_built_in_encoder_has_the_pace_of_its_engine(cache_dir, tmp_path):
    lite = registry.load("lite0", cache_dir=cache_dir)
    assert pace_of(lite, "image") == Pace(32, 1)
    fast = GraphEncoder("lite0", lite.blueprint, Paced(Pace(256, 2)), Cache(tmp_path))
    assert pace_of(fast, "image") == Pace(256, 2)
