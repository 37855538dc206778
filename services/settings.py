"""Settings: the only place that reads environment variables (``HEADWATER_…``)."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from embedder.engines.cache import default_folder

if TYPE_CHECKING:
    from embedder.media import Limits

MAX_PIXELS_POSSIBLE = 178_956_970
"""Pillow's own hard limit against decompression bombs; ours can only be lower."""


class Settings(BaseSettings):
    """Every setting, its default and its unit. A command-line option wins over the environment."""

    model_config = SettingsConfigDict(env_prefix="HEADWATER_", frozen=True, extra="forbid")

    store: str = Field("./headwater.db", description="LanceDB URI of the feature store; empty: no store")
    heads: Path = Field(Path("heads"), description="Folder of trained heads")
    adapters: Path = Field(Path("adapters"), description="Folder of the adapters of derived encoders")
    clusters: Path = Field(Path("clusters"), description="Folder of clusterings and their reports")
    cache: Path = Field(default_factory=default_folder, description="Folder of converted models; safe to delete")
    encoders: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lite0", "melstat"), description="Encoders that the embedding service loads, separated by commas"
    )
    backend: str = Field(
        "auto", description="auto, torch or openvino, with a device and precision if wanted: torch-cuda-bf16"
    )
    ray_address: str = Field("", description="Ray cluster of --engine ray: host:port or auto; empty: this machine")
    host: str = Field("127.0.0.1", description="Address to listen on; loopback unless told otherwise")
    embedding_port: int = Field(8000, ge=0, le=65535, description="Port of the embedding service")
    classification_port: int = Field(8001, ge=0, le=65535, description="Port of the classification service")
    embedding_url: str = Field(
        "http://127.0.0.1:8000", description="Where the classification service finds the embedding service"
    )
    embedding_timeout: float = Field(30.0, gt=0, description="Seconds to wait for the embedding service")
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest request body, bytes")
    max_items: int = Field(256, gt=0, description="Most images, texts, ids or vectors in one request")
    max_pixels: int = Field(
        64_000_000, gt=0, le=MAX_PIXELS_POSSIBLE, description="Largest image, width × height, before decoding"
    )
    max_seconds: float = Field(600.0, gt=0, description="Longest sound or video that is decoded, seconds")
    scale_jpegs: bool = Field(
        True, description="Decode large JPEGs at a fraction of their size, for encoders whose vectors stay the same"
    )
    max_batch: int = Field(32, gt=0, description="Most items in one pass of the model")
    max_queue: int = Field(512, gt=0, description="Most items waiting for an encoder; beyond: 503")
    accept_noncommercial: bool = Field(
        False, description="Your use is not commercial: encoders whose weights allow no other (ImageBind) may run"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of `embedder.registry.load`, good in any folder: workers on a cluster have their own."""
        return {
            "backend": self.backend,
            "cache_dir": self.cache.absolute(),
            "adapters": self.adapters.absolute(),
            "accept_noncommercial": self.accept_noncommercial,
        }

    @model_validator(mode="before")
    @classmethod
    def _split_encoders(cls, values: dict[str, object]) -> dict[str, object]:
        names = values.get("encoders")
        if isinstance(names, str):
            return values | {"encoders": tuple(name.strip() for name in names.split(",") if name.strip())}
        return values

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Self:
        if self.max_items > self.max_queue:
            raise ValueError(
                f"max_items {self.max_items} exceeds max_queue {self.max_queue}: "
                "a request of that size could never be queued; raise max_queue or lower max_items"
            )
        return self

    @property
    def limits(self) -> "Limits":
        """Of what is decoded."""
        from embedder.media import Limits

        return Limits(self.max_pixels, self.max_seconds, self.scale_jpegs)

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process: under what this process was given."""
        values = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in self}
        return dict(os.environ) | {f"HEADWATER_{name.upper()}": value for name, value in values.items()}
