"""Labelled items on their way into a dataset, kept small: an item is the JSON that will be written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from cascade.evaluation.repeats import read_of_item
from cascade.items import Item, Task

_DEFAULTS = {each.name: each.default for each in fields(Item) if each.name not in {"id", "name", "group"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An item whose label is known.

    Attributes:
        id: The item's id.
        item: Its row as JSON, without label and weight.
        read: Digest of what the model reads of it.
        tiers: The tiers that found it.
        label: Its true label.
        weight: How much the label can be trusted, in (0, 1].
        source: Who says so.
        given: The label that the cascade gave; empty where nobody asked it.
        at: When the label became known, in seconds since the epoch.
        is_redacted: Whether a secret was taken out of it.
    """

    id: str
    item: str
    read: bytes
    tiers: tuple[str, ...]
    label: str
    weight: float
    source: str
    given: str = ""
    at: float = 0.0
    is_redacted: bool = False


@dataclass(slots=True, kw_only=True)
class Gathered:
    """A task with the items whose labels are known.

    Attributes:
        task: The task.
        id: What the log knows it by.
        at: When it came, in seconds since the epoch; None where nobody says.
        repository: Where it comes from; empty where nobody says.
        examples: The items.
    """

    task: Task
    id: str
    at: float | None
    repository: str = ""
    examples: list[Example] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What tells it from other tasks, whatever its id, its case and its layout."""
        return key_of(self.task.text)


def key_of(text: str) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of a task's text in small letters and single spaces."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode("utf-8", "replace")).hexdigest()[:32]


def item_json(item: Item) -> str:
    """An item's row as JSON, without what is left at its default."""
    found: dict[str, Any] = {"id": item.id, "name": item.name}
    found |= {name: value for name, default in _DEFAULTS.items() if (value := getattr(item, name)) != default}
    if item.group is not None:
        found["group"] = asdict(item.group)
    return json.dumps(found)


def digest_of(item: Item) -> bytes:
    """16 bytes that are alike for items of which the model reads the same."""
    return hashlib.sha256(read_of_item(item).encode("utf-8", "replace")).digest()[:16]


def storable(value: Any) -> Any:
    """A JSON value whose texts any UTF-8 file can hold: lone surrogates stand as escapes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {key: storable(each) for key, each in value.items()}
    return [storable(each) for each in value] if isinstance(value, list) else value
