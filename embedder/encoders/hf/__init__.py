"""Models of transformers by the name of their repository: ``hf/<owner>/<repository>[@<revision>]``, or ``hf@<folder>``.

Vectors are raw: what the model projects into the space of its texts if it has a text side, otherwise its pooled
output. Tokens are the patch tokens of the last layer after the final norm, row by row. The files beside the weights say
how images and sounds are prepared. The families are data, see `embedder.encoders.hf.families`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from embedder.encoder import Blueprint, Encoder, Graph, Tokenise
from embedder.encoders.hf import text
from embedder.encoders.hf.families import TextTower
from embedder.encoders.hf.inputs import LIBRARIES, Inputs, inputs_of
from embedder.encoders.hf.model import Source
from embedder.encoders.hf.networks import Texts
from embedder.engines.graph_encoder import assemble
from embedder.errors import UnknownEncoder, Unsupported
from embedder.spec import EncoderSpec
from embedder.weights import hub_folder, licence
from embedder.weights.checkpoint import State, frozen
from embedder.weights.fetch import fetch

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
    inputs = inputs_of(source)
    spec = _spec(source, inputs, tokenise)
    plan = inputs.blueprint(spec, partial(_assets, source, inputs))
    if not (side and tokenise):
        return plan
    graph = Graph(
        key=f"{spec.fingerprint} text",
        libraries=LIBRARIES,
        build=partial(_texts, source, side),
        ports=text.ports(tokenise, side),
    )
    return replace(plan, text=graph, tokeniser=partial(text.tokeniser, source, side))


def _spec(source: Source, inputs: Inputs, tokenise: Tokenise | None) -> EncoderSpec:
    part, side, state = source.family.assets, source.family.text, source.state()
    config = source.tower_config(part)
    dim, tokens = _shapes(source, inputs, state)
    return EncoderSpec(
        architecture=_architecture(config),
        weights=source.digest(state, part),
        activation=_activation(config),
        output=part.output if side else "pooled",
        dim=dim,
        tokens=tokens,
        text=_text_digest(source, state, side, tokenise) if side and tokenise else None,
        **inputs.preprocessing,
    )


def _text_digest(source: Source, state: State, side: TextTower, tokenise: Tokenise) -> str:
    config = source.tower_config(side)
    facts = f"{_architecture(config)} {_activation(config)} end {config.eos_token_id}"  # CLIP takes the vector there
    return text.digest(source.digest(state, side), facts, tokenise)


def _shapes(source: Source, inputs: Inputs, state: State) -> tuple[int, tuple[int, int] | None]:
    """Return the output's d, and (P, F) or None. The tower runs on torch's meta device, which computes shapes only."""
    model, example = source.load(state), inputs.example
    try:
        with torch.inference_mode():
            tower = inputs.network(model, True).to("meta")
            vectors, *tokens = tower(torch.empty(1, *example.shape, dtype=getattr(torch, example.dtype), device="meta"))
    except (RuntimeError, ValueError) as error:
        raise Unsupported(
            f"the network in {source.folder} does not take inputs of shape {example.shape}: {error}"
        ) from error
    return int(vectors.shape[1]), (int(tokens[0].shape[1]), int(tokens[0].shape[2])) if tokens else None


_FACTS = {
    "num_attention_heads": "{} heads",
    "layer_norm_eps": "eps {:g}",
    "rms_norm_eps": "rms eps {:g}",
    "patch_stride": "stride {}",
    "window_size": "window {}",
    "enable_fusion": "fusion {}",
    "norm_eps": "norm eps {:g}",
    "local_attention": "local {}",
    "layer_types": "layers {}",
}
"""Fields of a configuration that change a network's numbers and do not show in the shapes of its tensors."""


def _architecture(config: Any) -> str:
    """Return the name of the architecture, with the facts that the shapes of the weights do not show."""
    facts = {name: getattr(config, name, None) for name in _FACTS}
    parts = [_FACTS[name].format(value) for name, value in facts.items() if value is not None]
    parts += [f"rope {theta:g}" for theta in _thetas(getattr(config, "rope_parameters", None) or vars(config))]
    return f"transformers:{type(config).__name__.removesuffix('Config')} ({', '.join(parts)})"


def _thetas(parameters: Mapping[str, Any]) -> list[float]:
    """Return the bases of the rotary positions: one, or one for each type of layer, by the names of the types."""
    if theta := parameters.get("rope_theta"):
        return [theta]
    own = [parameters[name] for name in sorted(parameters) if name.endswith("_attention")]
    return [theta for each in own if isinstance(each, Mapping) for theta in _thetas(each)]


def _activation(config: Any) -> str:
    return str(getattr(config, "hidden_act", getattr(config, "hidden_activation", "other"))).replace("_", "")


def _assets(source: Source, inputs: Inputs, tokens: bool) -> torch.nn.Module:
    return frozen(inputs.network(source.load(), tokens))


def _texts(source: Source, side: TextTower) -> torch.nn.Module:
    return frozen(Texts(source.load(), side))
