"""A model of open_clip for training its image tower, and the folder that the result is saved as."""

from functools import partial
from pathlib import Path

import open_clip
import torch
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME
from open_clip.push_to_hf_hub import save_config_for_hf

from embedder.encoders.openclip import model as clip
from embedder.encoders.openclip import output, towers
from embedder.encoders.openclip.source import Source
from embedder.spec import EncoderSpec
from embedder.trainable import Trainable
from embedder.weights.checkpoint import State, write_state


def trainable(source: Source, name: str, spec: EncoderSpec) -> Trainable:
    """Return the image tower of the encoder `name` for training, with the vectors that the name asks for.

    The whole model is saved: text tower and projection stay as they were where the vectors do not pass through them.
    """
    if spec.image is None:
        raise ValueError(f"{name} takes no images, so it has no network to train")
    rest, wanted = output.split(name)
    model = clip.load(source)
    preprocessing = model.visual
    # Taken before the tower is cut to size. Training changes these tensors in place.
    state = model.state_dict(keep_vars=True)
    tower = towers.image(model.visual, wanted, tokens=False).train()
    saved = set(map(id, state.values()))
    for parameter in tower.parameters():
        parameter.requires_grad_(id(parameter) in saved)
    named = rest.partition("@")[0].removeprefix("openclip").removeprefix("/").partition("/")[0]
    words = name.removeprefix(rest)
    return Trainable(
        module=tower,
        image=spec.image,
        label=named or "openclip",
        write=partial(_write, source, preprocessing, state),
        name=lambda folder: f"openclip{'/' * bool(named)}{named}@{folder}{words}",
    )


def _write(source: Source, visual: torch.nn.Module, state: State, folder: Path) -> None:
    """Write configuration, weights and, where the model asks for one, the tokeniser."""
    write_state(state, folder / HF_SAFE_WEIGHTS_NAME)
    config = source.config | ({"quick_gelu": True} if source.quick_gelu else {})
    save_config_for_hf(_Described(visual), folder / HF_CONFIG_NAME, config)
    if source.config["text_cfg"].get("hf_tokenizer_name"):
        open_clip.get_tokenizer(source.model).save_pretrained(folder)


class _Described:
    """The one attribute of a model that `save_config_for_hf` reads: its image tower, which knows its preprocessing."""

    def __init__(self, visual: torch.nn.Module) -> None:
        self.visual = visual
