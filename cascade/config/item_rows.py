"""Items and labelled tasks as they come from outside: pydantic models that become the pure core."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cascade.errors import InputError, ItemError
from cascade.items import Group, Item


def _not_blank(text: str) -> str:
    if not text.strip():
        msg = "it is blank; write a word at least"
        raise ValueError(msg)
    return text


def _each_once(tiers: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(tiers)) != len(tiers):
        msg = "a tier is named twice; name each once"
        raise ValueError(msg)
    return tiers


Words = Annotated[str, AfterValidator(_not_blank)]
"""A text that is more than white space."""

Tiers = Annotated[tuple[str, ...], Field(fail_fast=True), AfterValidator(_each_once)]
"""The retrieval tiers that found an item."""


def seconds(date: str) -> float | None:
    """Seconds since the epoch of a time as ISO 8601 writes it, UTC where it names no zone; None for an empty text.

    Raises:
        ValueError: It is no such time.
    """
    if not date:
        return None
    try:
        found = datetime.fromisoformat(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        msg = 'a time such as "2026-11-29T08:00:00Z" is needed'
        raise ValueError(msg) from error


def _is_time(date: str) -> str:
    seconds(date)
    return date


Date = Annotated[str, AfterValidator(_is_time)]
"""A time as ISO 8601 writes it; empty where none is known."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupRow(_Row):
    """What several items have in common."""

    name: str
    evidence: tuple[str, ...] = Field((), fail_fast=True)


class ItemRow(_Row):
    """One item; see ``cascade.items.Item`` for what the fields mean."""

    id: str = Field(min_length=1)
    kind: str = "item"
    name: Words = Field(min_length=1)
    signature: str = ""
    doc: str = ""
    text: str = ""
    evidence: tuple[str, ...] = Field((), fail_fast=True)
    group: GroupRow | None = None
    tiers: Tiers = ()
    priority: float = Field(0.0, strict=True, allow_inf_nan=False)
    prior: float | None = Field(None, strict=True, ge=0, le=1)

    def item(self) -> Item:
        """The pure form."""
        group = Group(name=self.group.name, evidence=self.group.evidence) if self.group else None
        fields = {name: getattr(self, name) for name in ItemRow.model_fields if name != "group"}
        return Item(**fields, group=group)


def item_at(row: ItemRow, where: str) -> Item:
    """The item of a row that stands somewhere.

    Args:
        row: The row.
        where: Its file and line, in words.

    Raises:
        InputError: It cannot be an item; names the place.
    """
    try:
        return row.item()
    except ItemError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error


class LabelledItemRow(ItemRow):
    """An item with its true label, and how much that is to count in a training."""

    label: str
    weight: float = Field(1.0, strict=True, ge=0, le=1)


class LabelledTaskRow(_Row):
    """A task with labelled items: one line of the ``items`` format."""

    id: str = ""
    repository: str = ""
    date: Date = ""
    task: Words = Field(min_length=1)
    seeds: tuple[str, ...] = ()
    items: tuple[LabelledItemRow, ...]
