"""The words that a question puts behind every item: how long they may be, and whether an adapter knows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

from cascade.errors import ConfigError
from cascade.machine import get_logger
from cascade.models.model_set import Adapter, odd_markers
from cascade.prompt import PromptBuilder
from cascade.tree import Cascade

log = get_logger("cascade.llama")

MAX_MARKER = 4
"""Most tokens of a question's marker; its wording stands in the prefix, where it costs once."""


def check_markers(
    cascade: Cascade, builder: PromptBuilder, adapters: Mapping[str, Adapter], others: Collection[str] = ()
) -> None:
    """Refuse markers that are too long, and warn of those that an adapter was not trained under.

    Args:
        cascade: The cascade.
        builder: Builds the model's prompts.
        adapters: Name -> adapter of the model.
        others: Adapters that are not the model's.

    Raises:
        ConfigError: Names the marker.
    """
    for question in cascade.questions():
        if question.adapter in others:
            continue
        length = len(builder.tokenizer.encode(question.marker, special=False))
        if not 1 <= length <= MAX_MARKER:
            msg = (
                f"cascade.{cascade.name}: marker {question.marker!r} is {length} tokens in this model; allowed are "
                f"1 to {MAX_MARKER}. Give the stage a shorter marker; the wording stands in the prefix."
            )
            raise ConfigError(msg)
    for odd in odd_markers(cascade, adapters):
        log.warning("an adapter is asked under a marker that it was not trained under", **asdict(odd))
