"""Models of transformers by the name of their repository: ``hf/<owner>/<repository>[@<revision>]``, or ``hf@<folder>``.

Vectors are raw: what the model projects into the space of its texts if it has a text side, otherwise its pooled
output. Tokens are the patch tokens of the last layer after the final norm, row by row. The files beside the weights say
how images and sounds are prepared. The families are data, see `embedder.encoders.hf.families`.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from embedder.encoder import Blueprint, Encoder, Graph, Port, Tokenise, Tower, image_blueprint
from embedder.encoders.hf import sounds, text
from embedder.encoders.hf.families import ImageTower, TextTower
from embedder.encoders.hf.model import Source, Texts, assets
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder, Unsupported
from embedder.spec import EncoderSpec, ImagePreprocessing
from embedder.weights import hub_folder, licence
from embedder.weights.checkpoint import State, frozen
from embedder.weights.fetch import fetch

_LIBRARIES = ("transformers",)
_WORD = r"\w[\w.-]*"
_NAME = re.compile(rf"(?P<repository>{_WORD}/{_WORD})(?:@(?P<revision>(?!.*\.\.){_WORD}(?:/{_WORD})*))?", re.ASCII)


def load(
    name: str, *, backend: str, cache_dir: Path, threads: int | None, accept_noncommercial: bool = False
) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    folder = _own(name)
    if folder is None:
        repository, revision = _published(name)
        marker = cache_dir / f"hf-{repository.replace('/', '-')}-licence-told"
        shown = partial(licence.check_named, name, repository, accepted=accept_noncommercial, marker=marker)
        if card := hub_folder.card(repository, revision):  # before anything large is fetched
            shown(licence.of_card(card))
        folder = fetch(name, [hub_folder.published(repository, revision)], own="hf@FOLDER")
        shown(licence.of_card(folder / hub_folder.CARD))
    return assemble(name, blueprint(folder), backend, cache_dir, threads)


def _own(name: str) -> Path | None:
    """Return the folder in ``hf@<folder>``; None for a name of another form."""
    path = name.removeprefix("hf@")
    return Path(path).expanduser() if path and path != name else None


def _published(name: str) -> tuple[str, str | None]:
    """Return the repository and the revision that a name holds. Raises UnknownEncoder for a name of another form."""
    found = _NAME.fullmatch(name.removeprefix("hf/"))
    if found is None:
        raise UnknownEncoder(name, ["hf/<owner>/<repository>", "hf/<owner>/<repository>@<revision>", "hf@<folder>"])
    return found["repository"], found["revision"]


def blueprint(folder: Path) -> Blueprint:
    """Return the blueprint of the model in a folder. Reads the weights, because they are part of its identity.

    Raises WeightsError for weights that are missing, unreadable or of another architecture, for a family that is not
    known, and for preprocessing that cannot be represented; Unsupported for images of a size that the network refuses.
    """
    source = Source.of(folder)
    side = source.family.text
    tokenise = text.tokeniser(source, side) if side else None
    settings = None if isinstance(source.family.assets, ImageTower) else sounds.Settings.of(folder)
    spec = _spec(source, settings, tokenise)
    if settings:
        plan = Blueprint(spec=spec, towers={"audio": _sounds(source, spec, settings)})
    else:
        plan = image_blueprint(spec, _LIBRARIES, partial(_assets, source))
    if not (side and tokenise):
        return plan
    graph = Graph(
        key=f"{spec.fingerprint} text",
        libraries=_LIBRARIES,
        build=partial(_texts, source, side),
        ports=text.ports(tokenise, side),
    )
    return replace(plan, text=graph, tokeniser=partial(text.tokeniser, source, side))


def _sounds(source: Source, spec: EncoderSpec, settings: sounds.Settings) -> Tower:
    graph = Graph(
        key=f"{spec.fingerprint} audio",
        libraries=_LIBRARIES,
        build=partial(_assets, source, False),
        ports=(Port((1, settings.frames, settings.bands), "float32"),),
    )
    return Tower(graph, partial(sounds.prepare, settings), sounds.CLIPS)


def _spec(source: Source, settings: sounds.Settings | None, tokenise: Tokenise | None) -> EncoderSpec:
    part, side, state = source.family.assets, source.family.text, source.state()
    config = source.tower_config(part)
    model = source.load(state)
    image = _image(source, part, config) if isinstance(part, ImageTower) else None
    shape = (3, image.size, image.size) if image else (1, settings.frames, settings.bands) if settings else ()
    dim, tokens = _shapes(source, model, shape)
    projected = "projected, of unit length" if part.unit else "projected"
    return EncoderSpec(
        architecture=_architecture(config),
        weights=source.digest(state, part),
        activation=_activation(config),
        output=projected if side else "pooled",
        dim=dim,
        tokens=tokens,
        image=image,
        audio=settings.spec if settings else None,
        text=_text_digest(source, state, side, tokenise) if side and tokenise else None,
    )


def _image(source: Source, part: ImageTower, config: Any) -> ImagePreprocessing:
    return hub_folder.preprocessing(source.folder, None if part.any_size else config.image_size, part.processor)


def _text_digest(source: Source, state: State, side: TextTower, tokenise: Tokenise) -> str:
    config = source.tower_config(side)
    facts = f"{_architecture(config)} {_activation(config)} end {config.eos_token_id}"  # CLIP takes the vector there
    return text.digest(source.digest(state, side), facts, tokenise)


def _shapes(source: Source, model: Any, shape: tuple[int, ...]) -> tuple[int, tuple[int, int] | None]:
    """Return the output's d, and (P, F) or None. The tower runs on torch's meta device, which computes shapes only."""
    try:
        with torch.inference_mode():
            tower = assets(source, model, tokens=True).to("meta")
            vectors, *tokens = tower(torch.empty(1, *shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise Unsupported(f"the network in {source.folder} does not take inputs of shape {shape}: {error}") from error
    return int(vectors.shape[1]), (int(tokens[0].shape[1]), int(tokens[0].shape[2])) if tokens else None


_FACTS = {
    "num_attention_heads": "{} heads",
    "layer_norm_eps": "eps {:g}",
    "rms_norm_eps": "rms eps {:g}",
    "patch_stride": "stride {}",
    "window_size": "window {}",
    "enable_fusion": "fusion {}",
}
"""Fields of a configuration that change a network's numbers and do not show in the shapes of its tensors."""


def _architecture(config: Any) -> str:
    """Return the name of the architecture, with the facts that the shapes of the weights do not show."""
    theta = (getattr(config, "rope_parameters", None) or vars(config)).get("rope_theta")
    facts = {name: getattr(config, name, None) for name in _FACTS}
    parts = [_FACTS[name].format(value) for name, value in facts.items() if value is not None]
    parts += [f"rope {theta:g}"] if theta else []
    return f"transformers:{type(config).__name__.removesuffix('Config')} ({', '.join(parts)})"


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_act", "other")).replace("_", "")


def _assets(source: Source, tokens: bool) -> torch.nn.Module:
    return frozen(assets(source, source.load(), tokens))


def _texts(source: Source, side: TextTower) -> torch.nn.Module:
    return frozen(Texts(source.load(), side))
