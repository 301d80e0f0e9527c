"""What a System One state is about: a task and an item."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from cascade.items import Group, Item, Task
from cascade.service.bodies import check_text, read_item
from cascade.service.problems import UNFIT, RefusedError, refusal
from cascade.service.settings import ServiceSettings
from cascade.service.systemone_bodies import FullState, WordedState


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
    try:
        if isinstance(state, dict) and "task" in state and isinstance(state.get("item"), dict):
            full = FullState.model_validate(state)
            return full.read(settings, "state."), read_item(full.item, "state.item", settings)
        if isinstance(state, dict) and "task" in state and isinstance(state.get("candidate"), str):
            worded = WordedState.model_validate(state)
            return worded.read(settings, "state."), _worded(worded, settings)
    except ValidationError as error:
        raise refusal(error, ("state",)) from error
    text = as_text(state, "state")
    check_text(text, "state", settings)
    return Task(text=task), Item(id="state", kind="state", name=text)


def as_text(value: Any, field: str) -> str:
    """A text as it is, any other value as JSON.

    Raises:
        RefusedError: It is nested too deep.
    """
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise RefusedError(UNFIT, f"{field}: is nested too deep. Send plainer JSON.", field) from error


def _worded(state: WordedState, settings: ServiceSettings) -> Item:
    """An item whose prompt is the candidate's words: kind and name are what begins them."""
    check_text(state.candidate, "state.candidate", settings)
    check_text(state.file or "", "state.file", settings)
    kind, _, name = state.candidate.strip().partition(" ")
    group = Group(name=state.file) if state.file else None
    return Item(id="state", kind=kind, name=name, group=group)
