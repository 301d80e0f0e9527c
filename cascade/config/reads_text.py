"""What a stage reads of an item beside its line, as keys of a config file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cascade.config.toml import Frozen

TEXT_TOKENS = 200
"""Most tokens of an item's text that a stage reads which does not say how many."""


class ReadsText(Frozen):
    """Keys of a stage that may read the text of items."""

    reads: Literal["item", "text"] = Field(
        "item", description="What stands before its question: the item's line alone, or the item's `text` as well."
    )
    max_text_tokens: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = Field(
        None, description=f'Most tokens of the text that it reads, with `reads = "text"`; {TEXT_TOKENS} if absent.'
    )

    @model_validator(mode="after")
    def _reads_text(self) -> Self:
        if self.max_text_tokens is not None and self.reads != "text":
            msg = f'max_text_tokens = {self.max_text_tokens} needs reads = "text"; add it, or leave max_text_tokens out'
            raise ValueError(msg)
        return self

    @property
    def n_text_tokens(self) -> int:
        """Most tokens of the text; 0 if it is not read."""
        return (self.max_text_tokens or TEXT_TOKENS) if self.reads == "text" else 0
