"""The System One wire format: a state, typed questions about it, and a probability for every answer.

Source: the request and the answer of TypeSafe's ``POST /v1/systemone``, as the PyPI package
systemone-client 0.1.0 writes and reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from cascade.config.item_rows import ItemRow
from cascade.items import Group, Item, Task
from cascade.prompt import BETWEEN, MARK, is_fact
from cascade.service.json_body import refusal
from cascade.service.schemas import Given, TaskRow, check_long_text, check_text, read_item
from cascade.service.settings import ServiceSettings

MAX_QUESTIONS = 64
MAX_OPTIONS = 255


class NoulQuestion(Given):
    """A yes/no question."""

    type: Literal["noul"]
    instructions: str = Field(min_length=1, description="The question; of a cascade a stage's wording or its name.")
    criteria: str | dict[str, Any] | None = Field(None, description="What counts as yes, and as no.")


class ChoiceQuestion(Given):
    """A choice of one option: of a cascade, its labels."""

    type: Literal["choice"]
    instructions: str = Field(min_length=1)
    criteria: dict[str, Any] = Field(min_length=2, max_length=MAX_OPTIONS, description="Option -> description or null.")


class ScoreQuestion(Given):
    """An ordered scale, which this service does not answer."""

    type: Literal["score"]
    instructions: str
    criteria: list[Any]


QuestionRow = Annotated[NoulQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class FullState(TaskRow):
    """A state with an item as a cascade's own request has it."""

    item: ItemRow


class WordedState(TaskRow):
    """A state with a candidate in words, as a prompt has them."""

    candidate: str = Field(min_length=1)
    file: str | None = None
    text: str = ""


class SystemOneCall(Given):
    """A state, and the questions about it."""

    state: str | dict[str, Any] | list[Any] = Field(
        description="A text, any JSON, or `task`, `seeds` and `item` as `POST /v1/cascades/{name}` takes them; "
        "or `task`, `seeds`, `file`, `candidate` and `text` in words."
    )
    questions: dict[str, QuestionRow] = Field(
        min_length=1, max_length=MAX_QUESTIONS, description="Name -> question; answers have the same names."
    )
    model: str | None = Field(
        None, description="A cascade, whose stages answer, or an adapter or `base`, which answers any noul question."
    )


class NoulAnswer(BaseModel):
    """The answer to a noul question."""

    type: Literal["noul"]
    noul: float = Field(ge=0, le=1, description="Probability of yes.")


class ChoiceAnswer(BaseModel):
    """The answer to a choice question."""

    type: Literal["choice"]
    choice: str = Field(description="The likeliest option.")
    confidence: float = Field(ge=0, le=1, description="0 where all options are as likely, 1 where one is certain.")
    probabilities: Mapping[str, float]


class UsageBody(BaseModel):
    """Tokens."""

    input_tokens: int
    output_tokens: int = Field(description="Always 0: nothing is generated.")


class ModelBody(BaseModel):
    """A name that may be given as `model`."""

    id: str
    object: Literal["model"] = "model"
    owned_by: str = "binary-cascade"


class ModelsBody(BaseModel):
    """All of those, in the form of OpenAI's list of models."""

    object: Literal["list"] = "list"
    data: Sequence[ModelBody]


class SystemOneAnswer(BaseModel):
    """The answers, by the names of their questions."""

    model: str
    answers: Mapping[str, Annotated[NoulAnswer | ChoiceAnswer, Field(discriminator="type")]]
    usage: UsageBody
    latency_ms: float


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
