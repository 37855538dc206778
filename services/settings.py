"""The settings of every command and service. This is the only module that reads environment variables."""

import difflib
import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from embedder.engines.backend import Backend
from embedder.engines.cache import default_folder

if TYPE_CHECKING:
    from embedder.media import Limits

PREFIX = "HEADWATER_"
"""Prefix of the environment variable of every setting: `store` is read from ``HEADWATER_STORE``."""

MAX_PIXELS_POSSIBLE = 178_956_970
"""Limit at which Pillow itself refuses an image as a decompression bomb. `max_pixels` can only be lower."""


class Settings(BaseSettings):
    """Every setting, its default and its unit. A command-line option takes precedence over the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    store: str = Field(
        "./headwater.db", description="Feature store: a folder or any LanceDB URI (`s3://…`); empty for no store"
    )
    heads: Path = Field(Path("heads"), description="Folder of the trained heads")
    adapters: Path = Field(
        Path("adapters"), description="Folder of the adapters that `adapt` and `condense` write: each makes an encoder"
    )
    clusters: Path = Field(Path("clusters"), description="Folder of the clusterings and their reports")
    cache: Path = Field(
        default_factory=default_folder,
        description="Folder of converted models and measured speeds; everything in it is made again when it is missing",
    )
    encoders: Annotated[tuple[str, ...], NoDecode] = Field(
        ("lite0", "melstat"), description="Encoders that the embedding service loads, separated by commas"
    )
    backend: str = Field(
        "auto",
        description="Inference engine that runs the encoders: auto, torch or openvino; optionally with a device and a "
        "precision, as in torch-cuda-bf16",
    )
    ray_address: str = Field(
        "", description="Ray cluster for jobs on Ray: host:port or auto; empty to start one on this machine"
    )
    host: str = Field("127.0.0.1", description="Address on which the services listen; the default is loopback only")
    embedding_port: int = Field(8000, ge=1, le=65535, description="Port of the embedding service")
    classification_port: int = Field(8001, ge=1, le=65535, description="Port of the classification service")
    embedding_url: str = Field(
        "",
        description="URL at which the classification service finds the embedding service; empty for this machine, at "
        "the host and the embedding port of these settings",
    )
    embedding_timeout: float = Field(
        30.0, gt=0, description="Seconds that the classification service waits for the embedding service"
    )
    max_body_bytes: int = Field(64 * 2**20, gt=0, description="Largest body of a request, in bytes")
    max_items: int = Field(256, gt=0, description="Largest number of images, texts, ids or vectors in one request")
    max_pixels: int = Field(
        64_000_000,
        gt=0,
        le=MAX_PIXELS_POSSIBLE,
        description="Largest image or video frame, width × height; larger ones are refused before they are decoded",
    )
    max_side: int = Field(65_535, gt=0, description="Longest side of an image or video frame, in pixels")
    max_seconds: float = Field(600.0, gt=0, description="Longest sound or video that is decoded, in seconds")
    max_samples: int = Field(
        115_200_000, gt=0, description="Most samples of a sound that is decoded, all its channels together"
    )
    max_decode_seconds: float = Field(
        30.0, gt=0, description="Most processor time that the decoding of one sound or video may take, in seconds"
    )
    scale_jpegs: bool = Field(
        True,
        description="Decode large JPEGs at a fraction of their size, which is faster; used only for encoders whose "
        "vectors stay the same",
    )
    max_batch: int = Field(32, gt=0, description="Largest number of items in one pass of an encoder")
    max_queue: int = Field(
        512, gt=0, description="Largest number of items that wait for one encoder; the service answers 503 beyond it"
    )
    accept_noncommercial: bool = Field(
        False,
        description="True declares that your use is not commercial, as the licence of some weights (ImageBind) asks",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe level of the log lines that are written: DEBUG, INFO, WARNING or ERROR"
    )

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of `embedder.registry.load`. Paths are absolute, because Ray workers run in another folder."""
        return {
            "backend": self.backend,
            "cache_dir": self.cache.absolute(),
            "adapters": self.adapters.absolute(),
            "accept_noncommercial": self.accept_noncommercial,
        }

    @property
    def limits(self) -> "Limits":
        """Limits on the files that are decoded."""
        from embedder.media import Limits

        return Limits(**self.model_dump(include={limit.name for limit in fields(Limits)}))

    def environment(self) -> dict[str, str]:
        """Return this process's environment, with these settings in place of its variables."""
        values = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in self}
        return dict(os.environ) | {variable(name): value for name, value in values.items()}

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, backend: str) -> str:
        Backend.parse(backend)  # ValueError with the allowed values
        return backend

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
                f"{variable('max_items')}={self.max_items} exceeds {variable('max_queue')}={self.max_queue}: a request "
                "of that size could never be queued; raise the second or lower the first"
            )
        return self


def variable(name: str) -> str:
    """Return the environment variable of the setting `name`."""
    return PREFIX + name.upper()


def unknown_variables(names: Iterable[str] | None = None) -> list[str]:
    """Return a warning for each environment variable that has the prefix but is no setting.

    A warning and not an error, because other programs may use the prefix too.

    Args:
        names: names of environment variables; those of this process if None.
    """
    own = (name for name in (os.environ if names is None else names) if name.upper().startswith(PREFIX))
    return [_warning(name) for name in sorted(own) if _setting(name) not in Settings.model_fields]


def _warning(name: str) -> str:
    near = difflib.get_close_matches(_setting(name), Settings.model_fields, n=1)
    return f"{name} is not a setting; " + (f"did you mean {variable(near[0])}?" if near else "it is ignored")


def _setting(variable: str) -> str:
    return variable[len(PREFIX) :].lower()
