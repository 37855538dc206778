"""The outputs of an image tower, chosen by words at the end of a name: ``<encoder>[:pooled][:tokens|:penultimate]``."""

from dataclasses import dataclass

from embedder.errors import UnknownEncoder

POOLED, TOKENS, PENULTIMATE = "pooled", "tokens", "penultimate"
WORDS = (POOLED, TOKENS, PENULTIMATE)
ENDINGS = f"[:{POOLED}][:{TOKENS} or :{PENULTIMATE}]"


@dataclass(frozen=True, slots=True)
class Output:
    """The outputs that a name asks for. Without any word: projected vectors, and tokens if the tower always gives them.

    Attributes:
        pooled: vectors before the projection into the space of texts, the usual input of linear probes (Radford et al.
            2021, appendix A.3).
        tokens: patch tokens of the last layer, also from towers that do not give them by default.
        penultimate: patch tokens that enter the last layer, after the final norm. They keep the position of objects
            better than the last layer's (TagCLIP, Lin et al. 2023).
    """

    pooled: bool = False
    tokens: bool = False
    penultimate: bool = False

    def __str__(self) -> str:
        """Return the value of `EncoderSpec.output`. It leaves `tokens` out, because `EncoderSpec.tokens` shows them."""
        vectors = "pooled" if self.pooled else "projected"
        return f"{vectors} + penultimate tokens" if self.penultimate else vectors


def split(name: str) -> tuple[str, Output]:
    """Split a name into the part without output words, and the outputs.

    A path that ends like a word needs a slash at its end.

    Raises UnknownEncoder for a word that occurs twice, and for `tokens` together with `penultimate`.
    """
    rest, words = name, list[str]()
    while rest.rpartition(":")[2] in WORDS and ":" in rest:
        rest, _, word = rest.rpartition(":")
        words.append(word)
    if len(set(words)) < len(words) or {TOKENS, PENULTIMATE} <= set(words):
        raise UnknownEncoder(name, [f"{rest}{ENDINGS}"])
    return rest, Output(POOLED in words, TOKENS in words, PENULTIMATE in words)
