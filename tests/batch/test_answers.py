"""Rows through an engine: each comes back once, whatever becomes of others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from cascade import Decision, Engine, Item, Task
from cascade.batch import portions as portioning
from cascade.batch.answers import answered
from cascade.batch.portions import MOST_ASKED, portions, ready, together
from cascade.batch.provenance import RunProvenance
from cascade.batch.results import column_values, result_columns, result_of
from cascade.batch.rows import ErrorKind, Fault, Row, row_of, rows_of, unread
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError, ClosedError, InputError
from cascade.report import Provenance, Report, Status
from tests.batch.scripted import lines_of, says, scripted, task, tickets


def flat(lines: Iterable[Sequence[Row]]) -> Iterator[Row]:
    """All rows of lines."""
    return (row for rows in lines for row in rows)


def found_in(engine: Engine, lines: Iterable[Sequence[Row]], **options: object) -> list[tuple[Row, Decision | Fault]]:
    """Everything that comes back, in order."""
    return [pair for some in answered(engine, lines, "tickets", **options) for pair in some]  # type: ignore[arg-type]


def labels(found: Iterable[tuple[Row, Decision | Fault]]) -> dict[tuple[str, str], str]:
    """(task, item) -> its label, or the kind of its fault."""
    return {(row.task_id, row.id): got.label if isinstance(got, Decision) else str(got.kind) for row, got in found}


def test_every_row_comes_back_once() -> None:
    """Good rows with decisions, bad ones with faults, over many tasks at once."""
    values = [
        task(f"task {n}", *(f"{kind} {at}" for at in range(n % 4) for kind in ("now", "half", "x"))) for n in range(40)
    ]
    values.insert(20, {"task": "", "items": []})
    with scripted() as engine:
        found = found_in(engine, lines_of(*values))
    expected = Counter(row.digest for rows in lines_of(*values) for row in rows)
    assert Counter(row.digest for row, _ in found) == expected
    for row, got in found:
        assert isinstance(got, Fault) if row.item is None else isinstance(got, Decision)
        if isinstance(got, Decision):
            assert (got.id, got.label) == (row.id, "now" if row.id.startswith("now") else "later")


def test_answers_are_those_of_single_requests() -> None:
    """With the shipped model and its evidence, every item gets what a request of its own task gives it."""
    values = [task(f"fix the {word}", "parse", "Cache", "read_lines", "Parser.feed") for word in ("parser", "cache")]
    with Engine.open() as engine:
        found = [pair for some in answered(engine, lines_of(*values), "precision") for pair in some]
        for value in values:
            report = engine.classify(value["task"], [Item(id=each["id"], name=each["name"]) for each in value["items"]])
            alone = {decision.id: decision for decision in report.decisions}
            own = {row.id: got for row, got in found if row.task == Task(text=value["task"])}
            assert own.keys() == alone.keys()
            for id_, got in own.items():
                assert isinstance(got, Decision)
                assert got.label == alone[id_].label
                assert [step.p_yes for step in got.steps] == pytest.approx(
                    [step.p_yes for step in alone[id_].steps], abs=1e-4
                )


def test_what_is_done_is_not_asked_and_changes_no_answer() -> None:
    """Evidence comes from all rows of a task, so those that are left get what they would have got beside the others."""
    value = task("fix the parser", "parse", "Cache", "read_lines")
    with Engine.open() as engine:
        whole = {row.id: got for some in answered(engine, lines_of(value), "precision") for row, got in some}
        left = {
            row.id: got
            for some in answered(engine, lines_of(value), "precision", is_done=lambda row: row.id != "Cache")
            for row, got in some
        }
    assert list(left) == ["Cache"]
    first, again = whole["Cache"], left["Cache"]
    assert isinstance(first, Decision)
    assert isinstance(again, Decision)
    assert [step.p_yes for step in again.steps] == pytest.approx([step.p_yes for step in first.steps], abs=1e-4)


def test_one_item_that_spoils_its_request_is_found() -> None:
    """A backend that fails whenever it is asked one item answers all the others; a server's failure has its kind."""

    def script(adapter: str, prompt: str) -> float:
        if "poison" in prompt:
            msg = "It is poisoned."
            raise BackendError(msg)
        return says(adapter, prompt)

    names = [f"now {at}" for at in range(20)]
    with scripted(script) as engine:
        found = labels(found_in(engine, lines_of(task("x", *names, "poison"), task("y", *names))))
    kinds = Counter(found.values())
    assert kinds == {"now": 40, "backend": 1}
    assert found[Task(text="x").id, "poison"] == "backend"


def test_an_item_that_a_stage_cannot_ask_is_a_fault() -> None:
    """A stage by tier needs one; the others of the task are asked."""
    with Engine.open() as engine:
        value = {
            "task": "fix it",
            "items": [{"id": "a", "name": "a"}, {"id": "b", "name": "b", "tiers": ["dependency"]}],
        }
        found = [pair for some in answered(engine, lines_of(value), "scope") for pair in some]
    kinds = {row.id: type(got) for row, got in found}
    assert kinds == {"a": Fault, "b": Decision}


def test_a_closed_engine_ends_the_job() -> None:
    """There is nobody left to ask; what came before stands."""
    seen: list[object] = []

    def run(engine: Engine) -> None:
        for some in answered(engine, lines_of(*(task(f"{number}", "now") for number in range(100))), "tickets"):
            seen.extend(some)
            engine.close()

    with scripted() as engine, pytest.raises(ClosedError):
        run(engine)
    assert seen


def test_a_full_engine_is_asked_again() -> None:
    """Where the engine takes fewer requests than are open at once, none is lost."""
    with scripted(settings=EngineSettings(rules=Rules(max_requests=1))) as engine:
        found = found_in(engine, lines_of(*(task(f"{number}", "now") for number in range(6))), concurrency=3)
    assert Counter(labels(found).values()) == {"now": 6}


@pytest.mark.parametrize(("n_items", "most"), [(1, 8), (30, 8), (100, 3), (300, 3)])
def test_large_requests_are_fewer_at_once(n_items: int, most: int) -> None:
    """What is open at once is bounded by requests and by items."""
    open_, seen = [0], []

    class Counting:
        """Passes on to an engine, and counts what is open."""

        def __init__(self, engine: Engine) -> None:
            self.cascade = engine.cascade
            self._submit = engine.submit

        def submit(self, *arguments: Any, **options: Any) -> Future[Report]:
            """See ``Engine.submit``."""
            open_[0] += 1
            seen.append(open_[0])
            return self._submit(*arguments, **options)

    names = [f"{number}" for number in range(n_items)]
    with scripted() as engine:
        for some in answered(Counting(engine), lines_of(*(task(f"{n}", *names) for n in range(12))), "tickets"):
            open_[0] -= 1
            assert some
    assert max(seen) <= most


def test_who_stops_early_leaves_nothing_open() -> None:
    """Requests that nobody waits for any more are dropped, and the engine works on."""
    with scripted() as engine:
        stream = answered(engine, lines_of(*(task(f"{number}", "now") for number in range(50))), "tickets")
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert engine.classify("x", [Item(id="1", name="now")], "tickets").labels() == {"now": 1}


def test_bad_arguments_are_refused_at_once() -> None:
    """Before a line is read."""
    with scripted() as engine:
        with pytest.raises(InputError, match="concurrency is 0"):
            answered(engine, [], "tickets", concurrency=0)
        with pytest.raises(InputError, match="Unknown cascade"):
            answered(engine, [], "nothing")


def test_depth_caps_every_item() -> None:
    """As the budget of a single request does."""
    with scripted() as engine:
        ((_, got),) = found_in(engine, lines_of(task("x", "now")), depth=1)
    assert isinstance(got, Decision)
    assert (got.status, len(got.steps)) == (Status.DEPTH_CAP, 1)


def flat_row(name: str, text: str = "x", **more: object) -> list[Row]:
    """A row of one item."""
    return rows_of({"task": text, "id": name, "name": name} | more, "row")


def test_rows_beside_one_another_are_one_task() -> None:
    """Rows of one item that follow one another go together; bad ones with those before; lines stand alone."""
    lines = [
        [unread("{", "bad")], flat_row("a"), flat_row("b"), [unread("}", "bad")], flat_row("c"), flat_row("d", "y"),
        flat_row("e"), flat_row("f", task_id="other"), rows_of(task("x", "g", "h"), ""), rows_of(task("x"), ""),
        rows_of(task("x", "i"), ""),
    ]  # fmt: skip
    assert ["".join(row.id or "-" for row in rows) for rows in together(lines)] == ["-ab-c", "d", "e", "f", "gh", "i"]


def test_a_long_task_is_cut() -> None:
    """However many rows follow one another, only so many count as one task."""
    rows = [flat_row(f"{number}") for number in range(3)] * (portioning.MOST_TOGETHER // 2)
    assert [len(found) for found in together(rows)] == [portioning.MOST_TOGETHER, len(rows) - portioning.MOST_TOGETHER]


def test_scattered_rows_of_a_task_are_asked_together() -> None:
    """Within the window rows are put in order of tasks, and of groups in each; an id that comes again goes apart."""
    rows = [row for n in range(6) for row in flat_row(f"{n}", "xy"[n % 2], group={"name": "gh"[n // 2 % 2]})]
    rows += [*flat_row("0"), unread("", "bad")]
    found = [
        (portion.task and portion.task.text, "".join(row.id for row in portion.rows)) for portion in portions(rows)
    ]
    assert found == [("x", "042"), ("x", "0"), ("y", "153"), (None, "")]


def test_portions_are_bounded_and_whole() -> None:
    """No row is lost or comes twice, whatever the sizes; a task that goes on is cut into full portions."""
    one = [row_of(Task(text="x"), Item(id=f"{number}", name="n")) for number in range(portioning.MOST_WAITING + 10)]
    others = [row_of(Task(text=f"{n % 7}"), Item(id=f"{n}", name="n", text="t" * 4_000)) for n in range(9_000)]
    found = list(portions([*one, *others]))
    assert Counter(row.digest for portion in found for row in portion.rows) == Counter(
        row.digest for row in one + others
    )
    assert max(len(portion.rows) for portion in found) <= MOST_ASKED
    assert all({row.task for row in portion.rows} == {portion.task} for portion in found)
    assert len(found) <= len(one + others) // MOST_ASKED + 30


def test_all_done_is_nothing_to_do() -> None:
    """Every row is looked up once."""
    rows = rows_of(task("x", "a", "b"), "")
    seen: list[str] = []
    assert ready(rows, tickets(), lambda row: not seen.append(row.id)) == []  # type: ignore[func-returns-value]
    assert seen == ["a", "b"]


def test_a_row_of_results() -> None:
    """Key, names, what was found, and what found it; an error has no label. JSON can hold both."""
    with scripted() as engine:
        by = RunProvenance.of(engine, "tickets")
        found = found_in(engine, lines_of(task("x", "now"), {"task": "x", "id": "9", "name": ""}))
    bad, good = (json.loads(json.dumps(result_of(row, got, by), allow_nan=False)) for row, got in found[::-1])
    if good["status"] == "error":
        bad, good = good, bad
    assert list(good) == ["key", "task_id", "id", "label", "status", "steps", "provenance"]
    assert (good["label"], good["status"], len(good["steps"])) == ("now", "decided", 2)
    assert list(bad) == ["key", "task_id", "id", "label", "status", "error_kind", "error", "provenance"]
    assert (bad["label"], bad["status"], bad["error_kind"], bad["id"]) == (None, "error", "item", "9")
    assert RunProvenance.from_dict(good["provenance"]) == by


def test_what_a_server_did_not_answer_is_an_error() -> None:
    """The label that an item could still have become is no answer where nobody was in a hurry."""
    (row,) = rows_of(task("x", "a"), "")
    nobody = Provenance(model="m", adapters={}, prompt_format="embedded", label_tokens=(1, 2))
    cut = Decision(id="a", label="now", status=Status.DEADLINE, steps=(), provenance=nobody, p_label=0.5, cause="gone")
    with scripted() as engine:
        told = result_of(row, cut, RunProvenance.of(engine, "tickets"))
    assert (told["label"], told["error_kind"], told["error"]) == (None, ErrorKind.SERVER, "gone")
    assert column_values(cut, tickets())["error_kind"] == "server"


def test_columns_of_a_table() -> None:
    """A column for every stage; what was not asked is None."""
    with scripted() as engine:
        ((_, got),) = found_in(engine, lines_of(task("x", "nothing")))
    assert list(result_columns(tickets())) == [
        "label", "status", "p_label", "p_waiting", "p_broken", "n_calls", "error_kind", "error",
    ]  # fmt: skip
    values = column_values(got, tickets())
    assert values["p_waiting"] == pytest.approx(0.1)
    assert (values["label"], values["p_broken"], values["n_calls"], values["error"]) == ("later", None, 1, None)


def test_provenance_tells_what_differs() -> None:
    """Model, adapters, questions, thresholds, cascade and depth each count, and are named."""
    with scripted() as engine, scripted(cascade=tickets(threshold=0.6)) as other:
        by, tuned = RunProvenance.of(engine, "tickets"), RunProvenance.of(other, "tickets")
        deep = RunProvenance.of(engine, "tickets", depth=1)
    with scripted(cascade=tickets(instructions="What now?")) as other:
        asked = RunProvenance.of(other, "tickets")
    assert by.differences(by) == []
    assert by.differences(tuned) == ["the thresholds, or where answers lead"]
    assert by.differences(asked) == ["what is asked (questions, prompt format, token limits or an adapter's scale)"]
    assert by.differences(deep) == ["the depth"]
    with Engine.open() as shipped:
        assert by.differences(RunProvenance.of(shipped, "precision")) == ["the cascade"]
        known = RunProvenance.of(shipped, "precision")
    told = known.as_dict()
    changed = RunProvenance.from_dict(told | {"model": "x", "adapters": told["adapters"] | {"primary": "y"}})
    assert known.differences(changed) == ["the model", "adapter 'primary'"]
    assert len({one.digest for one in (by, tuned, deep, asked, known, changed)}) == 6
