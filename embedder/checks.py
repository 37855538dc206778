"""Checks of the promises of `embedder.encoder.Encoder`, for authors of encoders: see `check_encoder`.

The assets and texts are those of `embedder.probe`. An encoder is checked on every modality of its spec. To check one
more promise, write one more function and add it to `CHECKS`. This module imports no torch.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.encoder import Encoder
from embedder.engines.backend import Backend
from embedder.errors import ProbeMismatch
from embedder.media import Media
from embedder.spec import MODALITIES, EncoderSpec, Modality

ROWS = 41
"""Number of rows of a long batch. Engines cut it into several passes, e.g. of 32, 8 and 1 rows."""


def check_encoder(encoder: Encoder) -> None:
    """Run all `CHECKS`. This takes about a second for a small network.

    Raises AssertionError with a sentence for the first promise of `embedder.encoder.Encoder` that is broken.
    """
    for check in CHECKS:
        check(encoder)


def check_spec(encoder: Encoder) -> None:
    """The encoder has a name, a backend and a spec that survives its own JSON, and it takes assets or texts."""
    spec = encoder.spec
    _require(bool(encoder.name and encoder.backend), "name and backend must not be empty")
    _require(isinstance(spec, EncoderSpec), f"spec must be an EncoderSpec, not {type(spec).__name__}")
    _require(EncoderSpec.from_json(spec.canonical_json()) == spec, "from_json(spec.canonical_json()) must equal spec")
    _require(spec.dim > 0, f"spec.dim must be at least 1, not {spec.dim}")
    _require(bool(spec.modalities) or spec.text is not None, "spec must have a modality or text")


def check_preparing(encoder: Encoder) -> None:
    """Assets of one modality become inputs of one shape, equal each time. Preparing does not change the asset."""
    for modality, samples in _samples(encoder):
        before = [_content(media) for media in samples]
        first, second = ([encoder.prepare(media) for media in samples] for _ in range(2))
        shapes = {(each.shape, str(each.dtype)) for each in first}
        _require(len(shapes) == 1, f"prepare must return one shape and dtype for {modality}, not {sorted(shapes)}")
        _require(all(map(np.array_equal, first, second)), f"prepare must repeat its result ({modality})")
        _require([_content(media) for media in samples] == before, f"prepare must not change the asset ({modality})")
        if modality == "image" and (image := encoder.spec.image):
            wanted = (image.shape, "uint8")
            _require(shapes == {wanted}, f"prepare must return {wanted} for an image, as spec.image says, not {shapes}")


def check_vectors(encoder: Encoder) -> None:
    """Vectors are finite float32 (n, d) for n ≥ 0, and differ between assets. Tokens come only if asked for."""
    for modality, inputs in _inputs(encoder):
        for rows in (0, 1, len(inputs)):
            found = encoder.embed(inputs[:rows], modality=modality)
            _require_vectors(encoder, found.vectors, rows, modality)
            _require(found.tokens is None, "embed must return no tokens unless the call asks for them")
        differ = len(inputs) < 2 or bool(np.ptp(found.vectors, axis=0).any())  # the probe has only one video
        _require(differ, f"different assets ({modality}) must have different vectors")


def check_inputs_are_kept(encoder: Encoder) -> None:
    """Embedding does not change its inputs."""
    for modality, inputs in _inputs(encoder):
        before = inputs.copy()
        encoder.embed(inputs, modality=modality)
        _require(np.array_equal(inputs, before), f"embed must not change its inputs ({modality})")


def check_repeats(encoder: Encoder) -> None:
    """Equal inputs give equal vectors, and no later call changes the result of an earlier one."""
    for modality, inputs in _inputs(encoder):
        first = encoder.embed(inputs, modality=modality).vectors
        kept = first.copy()
        encoder.embed(inputs[::-1].copy(), modality=modality)
        _require(np.array_equal(first, kept), f"a later call must not change earlier vectors ({modality})")
        again = encoder.embed(inputs, modality=modality).vectors
        _require(np.allclose(again, kept, rtol=1e-4, atol=1e-5), f"equal inputs ({modality}) must give equal vectors")


def check_batches(encoder: Encoder) -> None:
    """The vector of an asset does not depend on the other assets, their order or the array's strides."""
    for modality, inputs in _inputs(encoder):
        order = np.random.default_rng(0).integers(0, len(inputs), ROWS)
        alone = np.concatenate([encoder.embed(one[None], modality=modality).vectors for one in inputs])
        together = encoder.embed(inputs[order], modality=modality).vectors
        what = f"vectors ({modality}) in a batch of {ROWS} and one by one"
        _require_close(encoder, together, alone[order], what)
        strided = encoder.embed(inputs[::-2], modality=modality).vectors
        _require_close(encoder, strided, alone[::-2], f"vectors ({modality}) of a strided view and one by one")


def check_wrong_inputs(encoder: Encoder) -> None:
    """Inputs of another dtype, of another shape or without a batch axis are refused with ValueError."""
    for modality, inputs in _inputs(encoder):
        dtype = np.float64 if inputs.dtype == np.float32 else np.float32
        wrong = [inputs.astype(dtype), inputs[0], inputs[..., :-1], inputs[:, None]]
        for each in wrong:
            what = f"embed must refuse {each.dtype} {each.shape} of {modality}, unlike prepare's, with ValueError"
            _require_refusal(partial(encoder.embed, each, modality=modality), what)


def check_other_modalities(encoder: Encoder) -> None:
    """Modalities that the spec lacks are refused with ValueError (BadMedia), by `prepare` and by `embed`."""
    for modality in (each for each in MODALITIES if each not in encoder.spec.modalities):
        what = f"must refuse {modality}, which its spec does not have, with BadMedia"
        nothing = np.zeros((0, 1), np.float32)
        _require_refusal(partial(encoder.embed, nothing, modality=modality), f"embed {what}")
        for media in _made(modality)[:1]:
            _require_refusal(partial(encoder.prepare, media), f"prepare {what}")


def check_tokens(encoder: Encoder) -> None:
    """Tokens are finite float16 (n, P, F) and do not change the vectors. Without spec.tokens, embed refuses tokens."""
    for modality, inputs in _inputs(encoder):
        if modality != "image" or encoder.spec.tokens is None:
            what = f"embed must refuse tokens of {modality} with ValueError: spec.tokens is {encoder.spec.tokens}"
            _require_refusal(partial(encoder.embed, inputs, modality=modality, tokens=True), what)
            continue
        for rows in (0, len(inputs)):
            found = encoder.embed(inputs[:rows], tokens=True)
            wanted = f"float16 {(rows, *encoder.spec.tokens)}"
            tokens = found.tokens if found.tokens is not None else np.zeros(0)
            got = f"{tokens.dtype} {tokens.shape}"
            _require(got == wanted, f"tokens of {rows} images must be {wanted}, as spec.tokens says, not {got}")
            _require(bool(np.isfinite(tokens).all()), "tokens must be finite in float16")
        plain = encoder.embed(inputs).vectors
        _require_close(encoder, found.vectors, plain, "vectors with tokens and without")


def check_texts(encoder: Encoder) -> None:
    """Texts have vectors (n, d) that do not depend on the other texts. Without spec.text, texts are refused."""
    if encoder.spec.text is None:
        what = "embed_texts must refuse texts with ValueError, because spec.text is None"
        _require_refusal(partial(encoder.embed_texts, probe.TEXTS), what)
        return
    together = encoder.embed_texts(probe.TEXTS)
    _require_vectors(encoder, together, len(probe.TEXTS), "text")
    _require_vectors(encoder, encoder.embed_texts([]), 0, "text")
    alone = np.concatenate([encoder.embed_texts([text]) for text in probe.TEXTS])
    _require_close(encoder, together, alone, "vectors of texts together and one by one")
    _require_refusal(partial(encoder.embed_texts, "dog"), "embed_texts must refuse a bare string with ValueError")


def check_threads(encoder: Encoder) -> None:
    """Calls from several threads at once return the same vectors as calls from one thread."""
    for modality, inputs in _inputs(encoder):
        wanted = encoder.embed(inputs, modality=modality).vectors
        turns = [np.roll(np.arange(len(inputs)), shift) for shift in range(12)]

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(partial(encoder.embed, modality=modality), [inputs[rows] for rows in turns]))
        what = f"vectors ({modality}) from four threads at once and from one"
        _require_close(encoder, np.concatenate([each.vectors for each in found]), wanted[np.concatenate(turns)], what)


def check_probe(encoder: Encoder) -> None:
    """The reference vectors have the rows of the probe, and the engine agrees with them."""
    reference = encoder.reference_probe()
    rows = probe.assets(encoder.spec) + (len(probe.TEXTS) if encoder.spec.text is not None else 0)
    _require_vectors(encoder, reference, rows, "probe")
    try:
        probe.check(encoder, reference)
    except ProbeMismatch as error:
        raise AssertionError(f"broken promise: the engine must agree with reference_probe: {error}") from error


CHECKS: Sequence[Callable[[Encoder], None]] = (
    check_spec,
    check_preparing,
    check_vectors,
    check_inputs_are_kept,
    check_repeats,
    check_batches,
    check_wrong_inputs,
    check_other_modalities,
    check_tokens,
    check_texts,
    check_threads,
    check_probe,
)


@lru_cache
def _made(modality: Modality) -> list[Media]:
    """Return the probe's assets, made once, because that takes a tenth of a second."""
    return probe.samples(modality)


def _samples(encoder: Encoder) -> Iterator[tuple[Modality, list[Media]]]:
    """Yield copies of the assets, because a faulty encoder may change them."""
    for modality in encoder.spec.modalities:
        if made := _made(modality):
            yield modality, deepcopy(made)


def _inputs(encoder: Encoder) -> Iterator[tuple[Modality, NDArray[Any]]]:
    for modality, samples in _samples(encoder):
        yield modality, np.stack([encoder.prepare(media) for media in samples])


def _content(media: Media) -> bytes:
    """Return the bytes of an image, or of the one array of another asset."""
    if hasattr(media, "tobytes"):
        return bytes(media.tobytes())
    return b"".join(value.tobytes() for name in media.__slots__ if hasattr(value := getattr(media, name), "tobytes"))


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise AssertionError(f"broken promise: {promise}")


def _require_vectors(encoder: Encoder, vectors: NDArray[Any], rows: int, what: str) -> None:
    wanted, got = f"float32 {(rows, encoder.spec.dim)}", f"{vectors.dtype} {vectors.shape}"
    _require(got == wanted, f"vectors ({what}) must be {wanted}, as spec.dim says, not {got}")
    _require(bool(np.isfinite(vectors).all()), f"vectors ({what}) must be finite")


def _require_close(encoder: Encoder, a: NDArray[np.float32], b: NDArray[np.float32], what: str) -> None:
    """Compare cosines and lengths, not bits: another batch size may change the order of sums and so the last bits."""
    is_coarse = Backend.named(encoder.backend).precision not in (None, "fp32")
    least, slack = (0.999, 0.05) if is_coarse else (0.9999, 0.01)
    x, y = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    cosine = float(((x * y).sum(1) / np.maximum(lengths[0] * lengths[1], 1e-300)).min())
    agree = cosine > least and np.allclose(*lengths, rtol=slack)
    _require(
        agree, f"{what} must agree in cosine ({least} or more, found {cosine:.6f}) and in length (within {slack:.0%})"
    )


def _require_refusal(call: Callable[[], object], promise: str) -> None:
    try:
        call()
    except ValueError:
        return
    except Exception as error:
        raise AssertionError(f"broken promise: {promise}; it raised {type(error).__name__}: {error}") from error
    raise AssertionError(f"broken promise: {promise}; it raised nothing")
