"""The model and the adapter map as text in a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from cascade.config.servers import ServedConfig
from cascade.config.toml import ONE, SERVED, TABLE, Frozen, form
from cascade.errors import ConfigError
from cascade.prompt import FORMATS, PAIR, Limits

Tokens = Annotated[int, Field(ge=1, le=4096)]
_REMEDY = "Give the path of a TOML file."

MAX_SCALE = 16
"""The largest factor on an adapter's own alpha / rank."""


class LimitsConfig(Frozen):
    """Most tokens of each text from outside; the rest is cut."""

    task: Tokens = Limits().task
    seed: Tokens = Limits().seed
    group: Tokens = Limits().group
    item: Tokens = Limits().item

    def limits(self) -> Limits:
        """The pure form."""
        return Limits(**self.model_dump())


class ModelConfig(Frozen):
    """A base model, from a path or from the Hugging Face hub, and how llama.cpp runs it."""

    path: Path | None = Field(
        None, description="A GGUF file; relative to the config file. Without one, servers answer everything."
    )
    repo_id: str | None = Field(None, description="Hub repository, such as Qwen/Qwen3-0.6B-GGUF.")
    filename: str | None = Field(None, description="File within the hub repository.")
    revision: str | None = Field(None, description="Commit of the hub repository; pin it.")
    format: str = Field(
        "embedded",
        description="Prompt format: embedded, chatml, qwen3 or qwen3-reranker; pair for an encoder, which needs none.",
    )
    limits: LimitsConfig = LimitsConfig()
    n_ctx: int = Field(4096, ge=256, le=1_048_576, description="Cells of the KV cache.")
    n_seq_max: int = Field(128, ge=4, le=256, description="Sequences, which bound the items of a wave.")
    n_batch: int = Field(512, ge=32, le=65_536, description="Most tokens of one decode call.")
    n_batch_questions: int = Field(62, ge=1, le=65_536, description="Most tokens of a decode that asks questions.")
    n_threads: int = Field(0, ge=0, le=1024, description="Threads of llama.cpp, at most one a core; 0 for all cores.")
    n_gpu_layers: int = Field(0, ge=-1, le=1_000_000, description="Layers on a GPU; -1 for all.")
    flash_attention: bool = Field(True, description="Skips masked tiles of the shared cache.")
    use_extra_bufts: bool | None = Field(
        None,
        description="Lets llama.cpp rearrange quantised weights for this processor, which is faster. If absent, it "
        "does where a test shows that it can; true skips that test.",
    )

    @property
    def has_source(self) -> bool:
        """Whether it names a model; without one servers answer everything."""
        return self.path is not None or self.repo_id is not None

    def format_for(self, key: str, *, is_encoder: bool) -> str:
        """The prompt format for a model file.

        Args:
            key: Where this entry stands in the config.
            is_encoder: Whether the file holds an encoder.

        Raises:
            ConfigError: The format that is given is not for it.
        """
        is_given = "format" in self.model_fields_set
        if is_encoder and (self.format == PAIR or not is_given):
            return PAIR
        if is_encoder or self.format == PAIR:
            what, remedy = ("an encoder", f'"{PAIR}", or none') if is_encoder else ("a decoder", "another")
            msg = f'{key}.format: "{self.format}" is given, and the file holds {what}. Give {remedy}.'
            raise ConfigError(msg)
        return self.format

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in FORMATS:
            msg = f"there is no such prompt format; allowed are {', '.join(FORMATS)}"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.repo_id is not None:
            msg = "give exactly one of path and repo_id"
            raise ValueError(msg)
        if (self.repo_id is None) != (self.filename is None):
            msg = "repo_id and filename go together"
            raise ValueError(msg)
        return self


class AdapterConfig(Frozen):
    """One adapter of the map."""

    path: Path = Field(description="A LoRA GGUF file; relative to the config file.")
    model: str | None = Field(
        None, description="Name of its base model; if absent, it is found by the hash that the file carries."
    )
    scale: float = Field(1.0, gt=0, le=MAX_SCALE, description="Factor on the adapter's own alpha / rank.")


FileEntry = Annotated[Annotated[AdapterConfig, Tag(TABLE)] | Annotated[Path, Tag(ONE)], Discriminator(form)]
"""An adapter's file: its path, or a table."""


def _adapter_form(value: object) -> str:
    is_served = isinstance(value, ServedConfig) or (isinstance(value, dict) and "server" in value)
    return SERVED if is_served else form(value)


AdapterEntry = Annotated[
    Annotated[AdapterConfig, Tag(TABLE)] | Annotated[Path, Tag(ONE)] | Annotated[ServedConfig, Tag(SERVED)],
    Discriminator(_adapter_form),
]
