"""jevcompat's reference server with each of its faults: a right answer or a clear error, and never a wrong label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jevcompat.mock import FAULTS, MockConfig, Running, answer

from cascade import Config, Engine, Item, read_config
from cascade.errors import ServerError
from cascade.report import Decision

KEY = "open-sesame"
TOGETHER = 'together = "task"'
ITEMS = [Item(id=str(at), kind="ticket", name=f"Größe {at} café") for at in range(10)]
VALUES = {"Bug": "it is broken", "Docs": "", "Größe": "it does not fit"}
LEVELS = ["next year", "next month", "next week", "tomorrow", "today", "now"]

REFUSED = {
    "wrong-route": "status 404: .*No route",
    "auth-rejects-header": "status 401: .*takes no key",
    "auth-x-api-key": "status 403: .*Must supply an API key",
    "no-null-description": "status 422: .*valid string",
    "noul-range": r"probabilities outside \[0, 1\]",
    "choice-sum": "add up to 1.2 and not to 1",
    "score-sum": "add up to 0.8 and not to 1",
    "cap-5-levels": "status 422: .*at most 5 items",
    "reject-jev-latest": "status 404: .*Model not served: jev-latest",
    "xssi-200": r"does not answer /v1/models \(no JSON\)",
    "error-flat": "status 400: .*Unknown model: nobody",
    "text-errors": "status 422: Input should be a valid string",
    "validation-400": "status 400: .*Input should be a valid string",
}
"""Faults that end a request with an error that says what the server did."""

MORE = {
    "error-flat": ["models-404"],
    "text-errors": ["no-null-description"],
    "validation-400": ["no-null-description"],
}
"""What is needed besides, for a fault of how errors look to show."""

MODELS = {"error-flat": "nobody", "reject-jev-latest": "base"}
"""Fault -> the model that is asked; "base" is asked as jev-latest."""

UNREADABLE = {
    "nfd-keys": "lacks answers",
    "choice-key-case": "lacks answers",
    "score-keys-1-based": "lacks answers",
}
"""Faults that make answers unreadable: items have a cause."""

LEAKS = {"id-leaks", "batch-leaks", "order-leaks"}
"""Faults that make the model answer by what else is asked, which no single answer shows."""


def _config(folder: Path, url: str, more: str = "", name: str = "mock") -> Config:
    """A yes/no question that leads on to a choice, and that to a score, all asked of one model."""
    values = ", ".join(f'"{name}" = "{text}"' for name, text in VALUES.items())
    ways = ", ".join(f'"{name}" = {{ stage = "urgency" }}' for name in ("Bug", "Größe"))
    path = folder / "mock.toml"
    path.write_text(
        f"""
[model]
format = "embedded"
[servers.far]
kind = "systemone"
url = "{url}"
attempts = 2
{more}
[adapters]
one = {{ server = "far", name = "{name}" }}
[cascade.tickets]
instructions = "Sort tickets."
labels = ["none", "Docs", "later", "now"]
[[cascade.tickets.stages]]
name = "real"
question = "is it a ticket?"
adapter = "one"
yes = {{ stage = "kind" }}
no = {{ label = "none" }}
[[cascade.tickets.stages]]
name = "kind"
question = "what is it?"
adapter = "one"
values = {{ {values} }}
next = {{ {ways} }}
[[cascade.tickets.stages]]
name = "urgency"
question = "how urgent is it?"
adapter = "one"
levels = {LEVELS}
cuts = [2.5]
next = [{{ label = "later" }}, {{ label = "now" }}]
""",
        encoding="utf-8",
    )
    return read_config(path)


def _sort(config: Config, items: Sequence[Item] = ITEMS) -> tuple[Decision, ...]:
    with Engine.open(config) as engine:
        return engine.classify("sort them", items, "tickets").decisions


def _answers(decisions: tuple[Decision, ...]) -> list[tuple[str, Any]]:
    """Label and probabilities of each item."""
    return [(each.label, [step.probabilities or round(step.p_yes, 9) for step in each.steps]) for each in decisions]


@dataclass(slots=True)
class Mock:
    """The reference server.

    Attributes:
        url: Its address.
        asked: What it is; its faults and its key may be changed while it runs.
        right: What it says without a fault, by the keys of the config.
    """

    url: str
    asked: MockConfig
    right: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)

    def become(self, *faults: str, key: str | None = None) -> None:
        """Have these faults from now on, and this key."""
        self.asked.faults, self.asked.key = frozenset(faults), key


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    """The server, and what it says without a fault."""
    folder, asked = tmp_path_factory.mktemp("right"), MockConfig()
    with Running(asked) as server:
        found = Mock(server.url, asked)
        for more in ("", TOGETHER):
            found.right[more] = _answers(_sort(_config(folder, server.url, more)))
        yield found


def test_the_faults_are_those_that_are_known() -> None:
    """All 47, and each that is named here is one."""
    assert len(FAULTS) == 47
    assert {*REFUSED, *UNREADABLE, *LEAKS} <= FAULTS.keys()


def test_without_a_fault_every_kind_of_question_is_asked(mock: Mock) -> None:
    """Labels of all stages are there, so that a fault of any kind of question would show."""
    for right in mock.right.values():
        labels = {label for label, _ in right}
        assert {"none", "Docs"} <= labels
        assert labels & {"later", "now"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - LEAKS))
def test_no_fault_makes_a_wrong_label(fault: str, mock: Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fault ends in an error with its cause, in items with one, or in the very answers of the model."""
    has_key = fault.startswith("auth-")
    monkeypatch.setenv("MOCK_KEY", KEY)
    mock.become(fault, *MORE.get(fault, ()), key=KEY if has_key and fault != "auth-rejects-header" else None)
    more = TOGETHER if fault == "first-question-only" else ""
    keys = 'key_env = "MOCK_KEY"' if has_key else more
    config = _config(tmp_path, mock.url, keys, MODELS.get(fault, "mock"))
    if fault in REFUSED:
        with pytest.raises(ServerError, match=f"'far'.*{REFUSED[fault]}"):
            _sort(config)
        return
    found, right = _sort(config), mock.right[more]
    if fault in UNREADABLE:
        hit = [each for each in found if each.cause]
        assert hit
        assert all(UNREADABLE[fault] in each.cause for each in hit)
        assert all(own == due for own, due, each in zip(_answers(found), right, found, strict=True) if not each.cause)
    else:
        assert _answers(found) == right


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(LEAKS))
def test_a_model_that_sees_other_questions_is_asked_one_at_a_time(fault: str, mock: Mock, tmp_path: Path) -> None:
    """With ``most_questions = 1`` it answers an item alike in any company: what it says of the question alone."""
    mock.become(fault)
    config = _config(tmp_path, mock.url, "most_questions = 1")
    found = _sort(config)
    assert _answers(_sort(config, ITEMS[::-1])) == _answers(found)[::-1]
    if fault != "id-leaks":
        asked = {"type": "noul", "instructions": "is it a ticket?"}
        states = [{"task": "sort them", "candidate": f"ticket {item.name}"} for item in ITEMS]
        alone = [answer(mock.asked, state, "any", asked, 0, 1)["noul"] for state in states]
        assert [each.steps[0].p_yes for each in found] == pytest.approx(alone)


@pytest.mark.slow
def test_names_of_questions_say_the_same_in_any_request(mock: Mock, tmp_path: Path) -> None:
    """A model that sees names answers alike whether questions of a task go together or alone."""
    mock.become("id-leaks")
    runs = [_sort(_config(tmp_path, mock.url, f"{TOGETHER}\nmost_questions = {n}")) for n in (1, 5, 128)]
    assert _answers(runs[0]) == _answers(runs[1]) == _answers(runs[2])
