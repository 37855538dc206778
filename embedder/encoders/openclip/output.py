"""Which tensors of an image tower a name asks for: ``<encoder>[:pooled][:tokens|:penultimate]``."""

from dataclasses import dataclass

from embedder.errors import UnknownEncoder

POOLED, TOKENS, PENULTIMATE = "pooled", "tokens", "penultimate"
WORDS = (POOLED, TOKENS, PENULTIMATE)
ENDINGS = f"[:{POOLED}][:{TOKENS} or :{PENULTIMATE}]"


@dataclass(frozen=True, slots=True)
class Output:
    """Without any word: projected vectors, and tokens where the tower gives them without being asked.

    Attributes:
        pooled: vectors before the projection into the space of texts; the usual input of linear probes (Radford et
            al. 2021, appendix A.3).
        tokens: patch tokens of the last layer, also of towers that give none without being asked.
        penultimate: patch tokens that enter the last layer, after the final norm; found to keep the place of things
            better than the last layer's (TagCLIP, Lin et al. 2023).
    """

    pooled: bool = False
    tokens: bool = False
    penultimate: bool = False

    def __str__(self) -> str:
        """As `EncoderSpec.output`. `tokens` is not in it: that a spec has any says as much."""
        vectors = "pooled" if self.pooled else "projected"
        return f"{vectors} + penultimate tokens" if self.penultimate else vectors


def split(name: str) -> tuple[str, Output]:
    """A name without its words, and what they say. A path that ends like a word takes a slash after it.

    Raises UnknownEncoder for a word that stands twice, and for both kinds of tokens.
    """
    rest, words = name, list[str]()
    while rest.rpartition(":")[2] in WORDS and ":" in rest:
        rest, _, word = rest.rpartition(":")
        words.append(word)
    if len(set(words)) < len(words) or {TOKENS, PENULTIMATE} <= set(words):
        raise UnknownEncoder(f"openclip/{name}", [f"openclip/{rest}{ENDINGS}"])
    return rest, Output(POOLED in words, TOKENS in words, PENULTIMATE in words)
