"""What typed questions are about: a text, any JSON, or a task with an item as a cascade's own request has them."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TypeVar

from pydantic import Field, ValidationError

from cascade.config.item_rows import ItemRow
from cascade.items import Group, Item, Task
from cascade.prompt import BETWEEN, MARK, is_fact
from cascade.service.json_body import refusal
from cascade.service.schemas import TaskRow, check_long_text, check_text, read_item
from cascade.service.settings import ServiceSettings
from cascade.wire.texts import as_text


class FullState(TaskRow):
    """A state with an item as a cascade's own request has it."""

    item: ItemRow


class WordedState(TaskRow):
    """A state with a candidate in words, as a prompt has them."""

    candidate: str = Field(min_length=1)
    file: str | None = None
    text: str = ""


_State = TypeVar("_State", bound=TaskRow)


def is_item(state: object) -> bool:
    """Whether a state is a task with an item, and not a text or some other JSON."""
    if not (isinstance(state, dict) and "task" in state):
        return False
    return isinstance(state.get("item"), dict) or isinstance(state.get("candidate"), str)


def given_state(state: object) -> object:
    """A state as it was meant: a text that is the JSON of a task with an item is that, and anything else itself.

    ``/v1/decisions`` has no structured input, and gateways write one as such a text.
    """
    if not (isinstance(state, str) and state.lstrip().startswith("{")):
        return state
    try:
        found = json.loads(state)
    except (ValueError, RecursionError):
        return state
    return found if is_item(found) else state


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
    if is_item(state) and isinstance(state, dict):
        if isinstance(state.get("item"), dict):
            full = _of(FullState, state)
            return full.read(settings, "state."), read_item(full.item, "state.item", settings)
        worded = _of(WordedState, state)
        return worded.read(settings, "state."), _worded(worded, settings)
    text = as_text(state)
    check_text(text, "state", settings)
    return Task(text=task), Item(id="state", kind="state", name=text)


def _of(model: type[_State], state: object) -> _State:
    try:
        return model.model_validate(state)
    except ValidationError as error:
        raise refusal(error, state, model, ("state",)) from error


def _worded(state: WordedState, settings: ServiceSettings) -> Item:
    """An item whose prompt is the candidate's words: kind and name are what begins them, marked ones are evidence."""
    check_text(state.candidate, "state.candidate", settings)
    check_text(state.file or "", "state.file", settings)
    check_long_text(state.text, "state.text", settings)
    head, evidence, rest = _in_parts(state.candidate)
    kind, _, name = head.partition(" ")
    group = None
    if state.file:
        path, of_file, more = _in_parts(state.file)
        group = Group(name=f"{path}{BETWEEN}{more}" if more else path, evidence=of_file)
    return Item(id="state", kind=kind, name=name, signature=rest, text=state.text, evidence=evidence, group=group)


def _in_parts(line: str) -> tuple[str, tuple[str, ...], str]:
    """What stands before the evidence in a line that ``item_text`` wrote, the words of evidence, and the rest.

    The first part with a marked word is the evidence; ``item_text`` leaves none in text from outside.
    """
    parts = line.strip().split(BETWEEN)
    for at, part in enumerate(parts[1:], 1):
        runs = [(marked, list(run)) for marked, run in groupby(part.split(), _is_marked)]
        if any(marked for marked, _ in runs):
            evidence = [word for marked, run in runs for word in (run if marked else [" ".join(run)])]
            words = tuple(word.removeprefix(MARK) if _is_marked(word) else word for word in evidence)
            return BETWEEN.join(parts[:at]), words, BETWEEN.join(parts[at + 1 :])
    return line.strip(), (), ""


def _is_marked(word: str) -> bool:
    return word.startswith(MARK) and is_fact(word.removeprefix(MARK))
