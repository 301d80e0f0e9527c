"""What Python callers give wrong is refused by an InputError that names it, what was given and what is allowed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade import (
    Budget,
    Cascade,
    Decision,
    Engine,
    Group,
    Item,
    Limits,
    Profile,
    Question,
    ScriptedBackend,
    Stage,
    Task,
    read_config,
)
from cascade.arguments import is_name
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.errors import InputError, ItemError
from cascade.prompt import item_text
from cascade.stages import BASE, Target, Value
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

PRECISION = {"precision": CASCADES["precision"]}
HUGE = 10**400
WIDE = pytest.param(10**5_000, id="wide")  # Python does not even write it
ODD: list[Any] = [None, 1, 1.5, b"abc", object(), ["x"], {"x": 1}]


def _backend() -> ScriptedBackend:
    return ScriptedBackend({"relevant": 0.01}, frozenset(PRECISION["precision"].adapters()))


def _stage(**fields: Any) -> Stage:
    given: dict[str, Any] = {
        "name": "s",
        "questions": {"": Question(marker="m", wording="w?", adapter=BASE, threshold=0.5)},
        "yes": Target("a", is_label=True),
        "no": Target("b", is_label=True),
    }
    return Stage(**(given | fields))


def _cascade(**fields: Any) -> Cascade:
    given: dict[str, Any] = {"name": "c", "instructions": "i", "labels": ("a", "b"), "stages": (_stage(),)}
    return Cascade(**(given | {"profile": Profile()} | fields))


@pytest.mark.parametrize("value", [HUGE, -HUGE, WIDE, 0, -1, math.nan, math.inf, True, "100", [5], Fraction(0), 1j])
def test_a_budget_is_a_finite_number_above_0(value: Any) -> None:
    """Whatever else is given, alone or as a Budget, is refused by name."""
    with pytest.raises(InputError, match=r"A budget of .*; allowed"):
        Budget(ms=value)
    with Engine(_backend(), PRECISION) as engine, pytest.raises(InputError, match=r"A budget of .*; allowed"):
        engine.classify("a task", plain_items(1), budget=value)


@pytest.mark.parametrize("value", [1.5, 1.0, True, 0, -3, "2", math.nan, [1]])
def test_a_depth_is_a_whole_number_of_stages(value: Any) -> None:
    """A fraction of a stage and a truth value are refused."""
    with pytest.raises(InputError, match=r"A depth of .*; allowed is 1 or more stages"):
        Budget(depth=value)


@pytest.mark.parametrize("value", [HUGE, math.nan, math.inf, True, "soon"])
def test_a_deadline_is_a_finite_number(value: Any) -> None:
    """Infinity and texts are refused."""
    with pytest.raises(InputError, match=r"A deadline of .*; allowed are finite seconds of time.monotonic\(\)"):
        Budget(deadline=value)


@pytest.mark.parametrize(
    "value", ["", " ", " a", "a ", "a\nb", "a\0", "\x1b[31m", "\u202ea", "a\u2028b", "\ud800", "a\tb"]
)
def test_what_users_read_has_a_name_of_one_line(value: str) -> None:
    """Names of cascades, stages, tiers and values, and labels, are refused if they are empty or hide characters."""
    needed = "[Oo]ne line of printable characters without white space around it is needed"
    question = Question(marker="m", wording="w?", adapter=BASE, threshold=0.5)
    makes: list[Callable[[], object]] = [
        lambda: Value(value),
        lambda: _stage(name=value),
        lambda: _cascade(name=value),
        lambda: _cascade(labels=("a", "b", value)),
        *([lambda: _stage(questions={value: question})] if value else []),  # a stage that does not ask by tier
    ]
    for make in makes:
        with pytest.raises(InputError, match=needed) as caught:
            make()
        assert str(caught.value).isprintable()
    assert Value("größer als nötig").name == "größer als nötig"


def test_numbers_of_other_libraries_are_numbers() -> None:
    """What numpy counts is taken, and is an ordinary number from then on."""
    budget = Budget(ms=np.float32(250), deadline=np.int64(7), depth=np.int64(2))  # type: ignore[arg-type]  # by intent
    assert budget == Budget(ms=250.0, deadline=7.0, depth=2)
    assert [type(value) for value in (budget.ms, budget.deadline, budget.depth)] == [float, float, int]
    item = Item(id="1", name="a", priority=np.int32(3), prior=np.float32(0.5))  # type: ignore[arg-type]  # by intent
    assert (item.priority, item.prior, type(item.prior)) == (3.0, 0.5, float)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("field", ["id", "kind", "name", "signature", "doc", "text"])
def test_an_items_texts_are_texts(field: str, value: Any) -> None:
    """Anything else is refused with the field's name, and the item's."""
    fields = {"id": "7", "name": "a"} | {field: value}
    with pytest.raises(ItemError, match=f"id of an item is .*text is needed|Item '7': {field} is .*text is needed"):
        Item(**fields)


@pytest.mark.parametrize("value", ["abc", None, 5, {"a": 1}, b"abc", ["a", 1], [None]])
@pytest.mark.parametrize("field", ["evidence", "tiers"])
def test_an_items_lists_hold_texts(field: str, value: Any) -> None:
    """A single text is refused, since its characters would pass for the list."""
    with pytest.raises(ItemError, match=rf"Item '7': {field}.* is .*; a .*text.* needed"):
        Item(id="7", name="a", **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("priority", value) for value in (None, "1", True, HUGE, math.inf)]
    + [("prior", value) for value in ("1", True, HUGE, -0.1, 1.1, math.nan, [0.5])]
    + [("group", value) for value in ("a.py", {"name": "a"}, 5, ("a",))],
)
def test_an_items_other_fields_are_of_their_type(field: str, value: Any) -> None:
    """Each is refused with the item, the field, what was given and what is allowed."""
    with pytest.raises(ItemError, match=f"Item '7': {field} is .*needed"):
        Item(id="7", name="a", **{field: value})


def test_lists_are_taken_for_tuples() -> None:
    """What is given as a list becomes a tuple, so that groups can be shared."""
    listed: Any = ["a fact", "another"]
    item = Item(id="7", name="a", evidence=listed, tiers=listed, group=Group(name="g", evidence=listed))
    assert item == Item(
        id="7", name="a", evidence=tuple(listed), tiers=tuple(listed), group=Group(name="g", evidence=tuple(listed))
    )
    assert "a fact another" in item_text(item)
    assert Task(text="a", seeds=listed).seeds == tuple(listed)
    with Engine(_backend(), PRECISION) as engine:
        assert engine.classify("a task", [item]).decisions


@pytest.mark.parametrize(
    ("make", "fields", "named"),
    [
        (Task, {"text": None}, "The text of a task is None"),
        (Task, {"text": "a", "seeds": "a.py"}, "The seeds of a task is 'a.py'"),
        (Task, {"text": "a", "seeds": (Path("a.py"),)}, r"The seeds of a task\[0\] is PosixPath"),
        (Group, {"name": 5}, "The name of a group is 5"),
        (Group, {"name": "g", "evidence": "abc"}, "The evidence of group 'g' is 'abc'"),
        (Limits, {"task": 0}, "Limits: task is 0"),
        (Limits, {"item": 1.5}, "Limits: item is 1.5"),
        (Rules, {"max_requests": 0}, "max_requests is 0"),
        (EngineSettings, {"budgets": {"precision": 5}}, r"budgets\['precision'\] is 5; a Budget"),
        (EngineSettings, {"observers": 5}, "observers is 5"),
        (Question, {"marker": "m", "wording": "w?", "adapter": BASE, "threshold": "0.5"}, "question 'm' is '0.5'"),
        (
            Question,
            {"marker": "m", "wording": "w?", "adapter": None, "threshold": 0.5},
            "The adapter of a question is None",
        ),
        (Target, {"name": 5, "is_label": True}, "The name of a target is 5"),
        (_stage, {"yes": "b"}, "yes of stage 's' is 'b'; a Target"),
        (_stage, {"combine": "any"}, "combine of stage 's' is 'any'; a Combine"),
        (_stage, {"questions": "w?"}, "questions of stage 's' is 'w?'"),
        (_cascade, {"labels": "ab"}, "labels of cascade 'c' is 'ab'; a tuple of texts"),
        (_cascade, {"stages": (5,)}, r"stages\[0\] of cascade 'c' is 5; a Stage"),
        (_cascade, {"stages": 5}, "stages of cascade 'c' is 5"),
        (_cascade, {"profile": None}, "profile of cascade 'c' is None; a Profile"),
        (_cascade, {"instructions": None}, "instructions of cascade 'c' is None"),
        (Engine.open, {"config": 5}, "config is 5; a Config"),
        (Engine, {"backend": _backend(), "cascades": [CASCADES["precision"]]}, "cascades is "),
        (Engine, {"backend": _backend(), "cascades": {"precision": 5}}, r"cascades\['precision'\] is 5"),
        (Engine, {"backend": _backend(), "cascades": PRECISION, "limits": 5}, "limits is 5"),
        (Engine, {"backend": _backend(), "cascades": PRECISION, "settings": 5}, "settings is 5"),
        (read_config, {"path": 5}, "The path of a config is 5"),
    ],
)
def test_what_an_engine_is_made_of_is_of_its_type(
    make: Callable[..., object], fields: dict[str, Any], named: str
) -> None:
    """Tasks, groups, limits, settings, stages and cascades name what is wrong with them."""
    with pytest.raises(InputError, match=named.replace("?", r"\?")):
        make(**fields)


async def _told(_: Decision) -> None:
    """What cannot be told of decisions."""


CALLS: list[tuple[dict[str, Any], str]] = [
    ({"task": None}, "The task is None; a text or a Task"),
    ({"task": 5}, "The task is 5"),
    ({"task": b"abc"}, "The task is b'abc'"),
    ({"items": "abc"}, "items is 'abc'; a list of Item objects"),
    ({"items": None}, "items is None"),
    ({"items": {"1": 2}}, "items is {'1': 2}"),
    ({"items": Item(id="1", name="a")}, "items is Item"),
    ({"items": [None]}, r"items\[0\] is None; an Item"),
    ({"items": [*plain_items(2), {"id": "1"}]}, r"items\[2\] is {'id': '1'}; an Item"),
    ({"cascade": None}, "cascade is None"),
    ({"cascade": ["precision"]}, r"cascade is \['precision'\]"),
    ({"cascade": "other"}, "Unknown cascade 'other'"),
]


@pytest.mark.parametrize(("wrong", "named"), CALLS)
def test_every_call_names_the_argument_that_is_wrong(wrong: dict[str, Any], named: str) -> None:
    """classify, aclassify, stream, score and ascore say the same, and the engine goes on."""
    call: dict[str, Any] = {"task": "a task", "items": plain_items(1), "cascade": "precision"} | wrong
    with Engine(_backend(), PRECISION) as engine:

        async def stream() -> None:
            async for _ in engine.stream(**call):
                pass

        for ask in (
            lambda: engine.classify(**call),
            lambda: asyncio.run(engine.aclassify(**call)),
            lambda: asyncio.run(stream()),
            lambda: engine.score(**call),
            lambda: asyncio.run(engine.ascore(**call)),
        ):
            with pytest.raises(InputError, match=named):
                ask()
        assert engine.classify("a task", plain_items(1)).decisions


@pytest.mark.parametrize(("value", "named"), [(5, "on_decision is 5; a function"), (_told, "that is not async")])
def test_who_is_told_is_a_function(value: Any, named: str) -> None:
    """What cannot be called is refused, and so is an async function, which nobody would await."""
    with Engine(_backend(), PRECISION) as engine, pytest.raises(InputError, match=named):
        engine.classify("a task", plain_items(1), on_decision=value)


@pytest.mark.parametrize("stage", [None, 5, ["relevant"]])
def test_a_stage_is_named_by_a_text(stage: Any) -> None:
    """Anything else is refused by score."""
    with Engine(_backend(), PRECISION) as engine, pytest.raises(InputError, match=r"stages\[0\] is .*text"):
        engine.score("a task", plain_items(1), "precision", stage)


def test_an_observer_has_its_methods() -> None:
    """One that lacks them is refused when the engine is made."""
    watchers: Any = [object()]
    with pytest.raises(InputError, match="no method 'began'"):
        EngineSettings(observers=watchers)
    with pytest.raises(InputError, match="no method 'began'"):
        Engine.open(observers=watchers)
    with pytest.raises(InputError, match="observers is None"):
        Engine.open(observers=None)  # type: ignore[arg-type]  # by intent


@run
async def test_items_may_come_from_anything_that_yields_them() -> None:
    """A generator is as good as a list."""
    async with Engine(_backend(), PRECISION) as engine:
        items: Any = (item for item in plain_items(3))
        assert len((await engine.aclassify("a task", items)).decisions) == 3


@pytest.mark.parametrize(
    "name", ["\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d💻", "zu spät", "日本"]
)
def test_words_of_any_script_are_names(name: str) -> None:
    """Joiners are parts of words, as in Persian, and of emoji."""
    assert is_name(name)
