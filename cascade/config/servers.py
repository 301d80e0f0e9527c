"""Servers as text in a config file: where they are, how they are asked, and how requests are retried."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from cascade.config.toml import Frozen
from cascade.wire.texts import MOST_QUESTIONS

Kind = Literal["llama-server", "completions", "systemone", "decisions"]


class ServerConfig(Frozen):
    """One server that answers for some adapters."""

    kind: Kind = Field(
        description="llama-server, completions (vLLM, SGLang, llama-cpp-python), systemone or decisions."
    )
    url: str = Field(description="Address up to the path, such as http://127.0.0.1:8080; the path /v1 is left out.")
    model: str | None = Field(
        None, description="The base model that it must serve, by the name that it reports; a file's name will do."
    )
    prompt: Literal["tokens", "text"] | None = Field(
        None, description="How prompts are sent; tokens if absent and [model] has a file, which must be the server's."
    )
    key_env: str | None = Field(None, min_length=1, description="Environment variable that holds the key.")
    keyring: str | None = Field(None, min_length=1, description="Service in the keyring under which the key is kept.")
    starts_per_second: float = Field(100.0, gt=0, le=100_000, allow_inf_nan=False, description="Most requests begun.")
    in_flight: int = Field(8, ge=1, le=1_024, description="Most requests that it works on at once.")
    timeout_s: float = Field(10.0, gt=0, le=3_600, allow_inf_nan=False, description="Most seconds for one request.")
    attempts: int = Field(4, ge=1, le=20, description="Most times that a question is asked where something fails.")
    top_logprobs: int = Field(
        20, ge=2, le=1_000_000, description="Log-probabilities that a completions server is asked for."
    )

    together: Literal["item", "task"] = Field(
        "item",
        description="Whether a request of systemone or decisions is about one item, or has the items of a task in its "
        "questions.",
    )
    most_questions: int = Field(
        128, ge=1, le=MOST_QUESTIONS, description="Most questions of one request to systemone or decisions."
    )
    compress: Literal["gzip", "zstd"] | None = Field(
        None, description="How bodies from 1,024 bytes on are compressed; not at all if absent."
    )

    @property
    def is_typed(self) -> bool:
        """Whether it is asked typed questions in words, and not for the next token of a prompt."""
        return self.kind in {"systemone", "decisions"}

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.username is not None or parts.password is not None:
            msg = "a key has no place in an address; name its environment variable as key_env"
            raise ValueError(msg)
        # Asking for a port that is no number is a ValueError of its own.
        is_http = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and value.isprintable()
        if not is_http or parts.query or parts.fragment:
            msg = "give an address such as http://127.0.0.1:8080"
            raise ValueError(msg)
        return value.rstrip("/").removesuffix("/v1")


class ServedConfig(Frozen):
    """An entry of the adapter map that a server answers for."""

    server: str = Field(description="Name of the server under [servers].")
    name: str = Field(
        "base", min_length=1, description='What the server calls the adapter; "base" for its model alone.'
    )
    model: str | None = Field(
        None, description="Which base model of this file the server has, where there are several."
    )
    scale: float = Field(1.0, gt=0, le=16, description="Factor on the adapter's own alpha / rank; llama-server only.")
