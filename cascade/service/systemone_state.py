"""What a System One state is about: a task and an item."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from cascade.items import Group, Item, Task
from cascade.service.bodies import TaskRow, check_text, read_item
from cascade.service.faults import refusal
from cascade.service.settings import ServiceSettings
from cascade.service.systemone_bodies import FullState, WordedState

_State = TypeVar("_State", bound=TaskRow)


def read_state(state: object, task: str, settings: ServiceSettings) -> tuple[Task, Item]:
    """The task and the item of a state.

    Args:
        state: ``task`` with an ``item`` as a cascade's own request has it, or with a ``candidate`` in words; anything
            else is the item.
        task: The task of a state that has none.
        settings: How long texts may be.

    Raises:
        RefusedError: It cannot be used; names the field.
    """
    if isinstance(state, dict) and "task" in state and isinstance(state.get("item"), dict):
        full = _of(FullState, state)
        return full.read(settings, "state."), read_item(full.item, "state.item", settings)
    if isinstance(state, dict) and "task" in state and isinstance(state.get("candidate"), str):
        worded = _of(WordedState, state)
        return worded.read(settings, "state."), _worded(worded, settings)
    text = as_text(state)
    check_text(text, "state", settings)
    return Task(text=task), Item(id="state", kind="state", name=text)


def as_text(value: Any) -> str:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _of(model: type[_State], state: object) -> _State:
    try:
        return model.model_validate(state)
    except ValidationError as error:
        raise refusal(error, state, model, ("state",)) from error


def _worded(state: WordedState, settings: ServiceSettings) -> Item:
    """An item whose prompt is the candidate's words: kind and name are what begins them."""
    check_text(state.candidate, "state.candidate", settings)
    check_text(state.file or "", "state.file", settings)
    kind, _, name = state.candidate.strip().partition(" ")
    group = Group(name=state.file) if state.file else None
    return Item(id="state", kind=kind, name=name, group=group)
