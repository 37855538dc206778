"""The settings of every command and service. This is the only module that reads environment variables."""

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from embedder.engines.backend import Backend
from embedder.engines.cache import default_folder

if TYPE_CHECKING:
    from embedder.media import Limits

PREFIX = "HEADWATER_"
"""Prefix of the environment variable of every setting: `store` is read from ``HEADWATER_STORE``."""

MAX_PIXELS_POSSIBLE = 178_956_970
"""Limit at which Pillow itself refuses an image as a decompression bomb. `max_pixels` can only be lower."""

Names = Annotated[tuple[str, ...], NoDecode]
"""Texts that are separated by commas in an environment variable."""

MEMORY_FACTOR = 6
"""Memory for each byte of the largest body that a service must be able to hold: the largest factor of
`services.web.admission`, and the part of the budget that is kept for small requests."""


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
    encoders: Names = Field(
        ("lite0", "melstat"), description="Encoders that the embedding service loads, separated by commas"
    )
    backend: str = Field(
        "auto",
        description="Inference engine that runs the encoders: auto, torch or openvino; optionally with a device and a "
        "precision, as in torch-cuda-bf16; torch-cuda:all for all GPUs of the machine",
    )
    ray_address: str = Field(
        "", description="Ray cluster for jobs on Ray: host:port or auto; empty to start one on this machine"
    )
    host: str = Field("127.0.0.1", description="Address on which the services listen; the default is loopback only")
    insecure: bool = Field(
        False,
        description="True lets the services listen on other addresses than loopback without any key; only for networks "
        "in which you trust everyone",
    )
    allowed_hosts: Names = Field(
        (),
        description="Names under which the services may be called, separated by commas; loopback names and the host "
        "itself always may",
    )
    allowed_origins: Names = Field(
        (),
        description="Origins (https://app.example.org), separated by commas, whose pages may call the services from a "
        "browser; pages of the services themselves always may",
    )
    keys: Names = Field(
        (),
        description="Keys that the services accept, separated by commas: each the line of a key, or a file of such "
        "lines; empty for no keys, which works on loopback only",
    )
    key_rate: float = Field(
        0.0, ge=0, description="Most requests per second of a key whose line has no rate; 0 for no limit"
    )
    key: SecretStr = Field(
        SecretStr(""), description="Key that commands send to the services, or the path of a file that holds it"
    )
    embedding_key: SecretStr = Field(
        SecretStr(""),
        description="Key that the classification service sends to the embedding service, or the path of a file that "
        "holds it",
    )
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
    max_bytes_under_way: int = Field(
        512 * 2**20,
        gt=0,
        description="Most memory that all requests under way may take in one service, in bytes; the service answers "
        "503 beyond it",
    )
    max_header_bytes: int = Field(64 * 2**10, gt=0, description="Largest URL and headers of a request, in bytes")
    max_receive_seconds: float = Field(
        60.0, gt=0, description="Longest time in which the body of a request arrives, in seconds"
    )
    max_wait_seconds: float = Field(
        1.0,
        gt=0,
        description="Longest time that a request may be expected to take because of those before it, in seconds; the "
        "service answers 503 beyond it",
    )
    grace: float = Field(
        10.0, gt=0, description="Seconds in which a service that is told to stop finishes the requests under way"
    )
    max_backfill_queue: int = Field(
        8, gt=0, description="Largest number of backfills that wait in the embedding service; it answers 503 beyond it"
    )
    jobs: Path = Field(Path("jobs"), description="Folder of the jobs over HTTP: their states, logs and files")
    job_folders: Names = Field(
        (),
        description="Folders from which jobs over HTTP may read files, separated by commas; empty for none",
    )
    max_jobs: int = Field(1, gt=0, le=64, description="Largest number of jobs over HTTP that run at once")
    job_threads: int = Field(
        0, ge=0, description="Processors that each of these jobs may use; 0 for half of those of the service"
    )
    max_job_queue: int = Field(
        16, gt=0, description="Largest number of jobs that wait in the classification service; it answers 429 beyond it"
    )
    max_finished_jobs: int = Field(
        100, gt=0, description="Number of jobs that are kept after their end; the oldest are removed with their files"
    )
    learn_seconds: float = Field(
        60.0,
        gt=0,
        description="Longest time that a head trained by POST /v1/learn may take, and that a request waits for another "
        "one, in seconds",
    )
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
    max_decode_bytes: int = Field(
        2**30,
        gt=0,
        description="Most memory that the files which a service or a backfill decodes at once may take, in bytes; "
        "others wait, and a file that needs more is decoded alone",
    )
    max_file_bytes: int = Field(
        2**30,
        gt=0,
        description="Largest file that is ingested, or read by reference, in bytes; it is in memory whole",
    )
    max_thumbnail_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description="Most memory of the thumbnails that the classification service keeps for the next time they are "
        "asked for, in bytes; 0 to keep none",
    )
    scale_jpegs: bool = Field(
        True,
        description="Decode large JPEGs at a fraction of their size, which is faster; used only for encoders whose "
        "vectors stay the same",
    )
    jpegs_on_gpu: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Decode JPEGs on the GPU of an encoder: auto where it was measured to be faster than the CPU, on "
        "always, off never; auto and on only for encoders whose vectors stay the same",
    )
    max_batch: int = Field(
        0,
        ge=0,
        description="Largest number of items in one call of an encoder; 0 for as many as keep it busy: 32 on a CPU, "
        "measured on a GPU",
    )
    max_queue: int = Field(
        512, gt=0, description="Largest number of items that wait for one encoder; the service answers 503 beyond it"
    )
    allowed_encoders: Names = Field(
        (),
        description="Names of encoders that may be loaded over HTTP, separated by commas; * stands for any text; empty "
        "for all names without the path of a file",
    )
    max_encoders: int = Field(
        8,
        gt=0,
        description="Largest number of encoders of the service, idle ones included; beyond it none is loaded over HTTP",
    )
    encoder_idle_seconds: float = Field(
        0.0, ge=0, description="Seconds without a request after which an encoder is unloaded; 0 for never"
    )
    encoder_bytes: int = Field(
        0, ge=0, description="Most memory that the encoders of one device may hold, in bytes; 0 for no limit"
    )
    accept_noncommercial: bool = Field(
        False,
        description="True declares that your use is not commercial, as the licence of some weights (ImageBind) asks",
    )
    trust_checkpoint: bool = Field(
        False,
        description="True declares that you trust whoever made the checkpoints of your encoders: reading a TorchScript "
        "archive may run code in it",
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
            "trust_checkpoint": self.trust_checkpoint,
        }

    @property
    def limits(self) -> "Limits":
        """Limits on the files that are decoded."""
        from embedder.media import Limits

        return Limits(**self.model_dump(include={limit.name for limit in fields(Limits)}))

    def environment(self) -> dict[str, str]:
        """Return this process's environment, with these settings in place of its variables."""
        return dict(os.environ) | {variable(name): _text(value) for name, value in self}

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, backend: str) -> str:
        Backend.parse(backend)  # ValueError with the allowed values
        return backend

    @field_validator(
        "encoders", "allowed_encoders", "allowed_hosts", "allowed_origins", "keys", "job_folders", mode="before"
    )
    @classmethod
    def _split(cls, names: object) -> object:
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    @field_validator("allowed_hosts")
    @classmethod
    def _only_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [host for host in hosts if not re.fullmatch(r"[\w.-]+|\[?[0-9a-fA-F:.]+\]?", host, re.ASCII)]:
            raise ValueError(f"{wrong[0]!r} is no name of a host; write it without scheme, port or *")
        return hosts

    @field_validator("allowed_origins")
    @classmethod
    def _only_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [origin for origin in origins if not re.fullmatch(r"https?://[^/@*\sA-Z]+", origin)]:
            raise ValueError(
                f"{wrong[0]!r} is no origin; write scheme and host in small letters, as in https://app.example.org"
            )
        return origins

    @model_validator(mode="after")
    def _a_full_request_fits_the_queue(self) -> Self:
        if self.max_items > self.max_queue:
            raise ValueError(
                f"{variable('max_items')}={self.max_items} exceeds {variable('max_queue')}={self.max_queue}: a request "
                "of that size could never be queued; raise the second or lower the first"
            )
        return self

    @model_validator(mode="after")
    def _a_largest_body_fits_the_memory(self) -> Self:
        if self.max_body_bytes * MEMORY_FACTOR > self.max_bytes_under_way:
            raise ValueError(
                f"{variable('max_body_bytes')}={self.max_body_bytes} needs up to {MEMORY_FACTOR} times its size, more "
                f"than {variable('max_bytes_under_way')}={self.max_bytes_under_way} allows: a request of that size "
                "would always be refused; raise the second or lower the first"
            )
        return self


def _text(value: object) -> str:
    """Return the value of a setting as its environment variable has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def variable(name: str) -> str:
    """Return the environment variable of the setting `name`."""
    return PREFIX + name.upper()


def collector_named() -> bool:
    """Return True if OpenTelemetry's own variables name a collector for traces and do not switch them off."""
    named = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return named and not off


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
