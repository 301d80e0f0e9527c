"""``POST /v1/outcomes``: what became of items goes into the log, whole, and what cannot is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cascade import DecisionLog, Task
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.service import Service, assert_problem, body_of
from tests.log.logs import n_rows, rows_of

URL = "/v1/outcomes"


@run
async def _record(tmp_path: Path, body: Any, status: int, field: str | None, *words: str) -> None:
    """What is sent is refused with the field at fault, and nothing of it is kept."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        service = Service(log=log)
        with service.engine:
            async with service.client() as client:
                assert_problem(await client.post(URL, json=body), status, field, *words)
        assert n_rows(log.path, "outcomes") == 0


@run
async def test_outcomes_are_joined_by_the_task_of_the_report(tmp_path: Path) -> None:
    """The report says the task's id; outcomes that name it stand beside its decisions."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        service = Service(log=log)
        with service.engine:
            async with service.client() as client:
                task = Task(text="fix it", seeds=("a.py",))
                report = (await client.post("/v1/cascades/precision", json=body_of(task, plain_items(2)))).json()
                assert report["task_id"] == task.id
                outcomes = [
                    {"task": report["task_id"], "item": "item-0", "label": "primary", "source": "ann"},
                    {"task": report["task_id"], "item": "item-1", "what": "used", "value": 0.5},
                ]
                answer = await client.post(URL, json={"outcomes": outcomes})
                assert (answer.status_code, answer.json()) == (200, {"recorded": 2})
        log.flush()
        assert [row[2:] for row in rows_of(log.path, "outcomes")] == [
            (task.id, "item-0", "label", "primary", 1.0, "ann"), (task.id, "item-1", "used", "", 0.5, ""),
        ]  # fmt: skip
        assert n_rows(log.path, "requests") == 1


GOOD = {"task": "t", "item": "i", "what": "used"}


@pytest.mark.parametrize(
    ("outcome", "field", "words"),
    [
        ({"task": "t", "what": "used"}, "outcomes.1.item", "is missing"),
        ({"task": "t", "item": "i"}, "outcomes.1", "a label is needed"),
        (GOOD | {"value": 1.5}, "outcomes.1.value", ""),
        (GOOD | {"value": "1"}, "outcomes.1.value", "number"),
        (GOOD | {"wieght": 1}, "outcomes.1.wieght", "is unknown"),
        (GOOD | {"item": "x" * 100_000}, "outcomes.1.item", "allowed are"),
    ],
)
def test_bad_outcomes_are_refused(tmp_path: Path, outcome: dict[str, Any], field: str, words: str) -> None:
    """The field at fault is named, and the outcomes beside it are not kept either."""
    _record(tmp_path, {"outcomes": [GOOD, outcome]}, 422, field, words)


def test_a_list_is_needed(tmp_path: Path) -> None:
    """An empty list, and a body without one, are refused."""
    _record(tmp_path, {"outcomes": []}, 422, "outcomes")
    _record(tmp_path, {}, 422, "outcomes", "is missing")


@run
async def test_without_a_log_there_is_no_place_for_them() -> None:
    """A service that keeps no log says so, and what to do."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            answer = await client.post(URL, json={"outcomes": [GOOD]})
            assert_problem(answer, 409, None, "keeps no log", "[log]")


@run
async def test_a_closed_log_takes_none(tmp_path: Path) -> None:
    """Outcomes that would be lost are not said to be kept: the caller is told to come back."""
    log = DecisionLog(tmp_path / "log.sqlite3")
    service = Service(log=log)
    log.close()
    with service.engine:
        async with service.client() as client:
            answer = await client.post(URL, json={"outcomes": [GOOD]})
            assert_problem(answer, 503, None, "takes no outcomes now")
