"""``cascade dataset label``: who may be asked, what is recorded of it, and what the budget means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire_server import Fault, Script, ScriptedServer
from cascade import DecisionLog, Engine, Item, Outcome, ScriptedBackend, read_config, shipped_config
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.dataset.candidates import candidates
from cascade.dataset.known import Reading
from cascade.dataset.oracle import Asking, Labels, label, oracle_cascade, p_of
from cascade.dataset.picking import Pick, Why
from cascade.dataset.review import shown
from cascade.log.database import opened_log
from cascade.service.metrics import Metrics
from cascade.stages import Target
from tests.dataset.logs import items_of, labelled_log, logged, told
from tests.helpers.requests import symbols
from tests.helpers.service import serving
from tests.helpers.shipped import shipped_text
from tests.log.logs import rows_of

CONFIG = read_config(shipped_config())
PRECISION = CONFIG.cascades()["precision"]
LABEL = ("dataset", "label", "--cascade", "precision", "--log")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Four tasks of symbols; one item of each is labelled by a commit."""
    path = tmp_path / "log.sqlite3"
    tasks = [symbols(seed, 6) for seed in range(4)]
    logged(path, tasks)
    told(path, [Outcome(task=task.id, item=items[0].id, label="excluded", source="commit") for task, items in tasks])
    return path


def _labelled(capsys: pytest.CaptureFixture[str], log: Path, *more: object) -> dict[str, Any]:
    assert main([*LABEL, str(log), "--json", *map(str, more)]) == ExitCode.DONE
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_model_labels_within_its_budget(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked about as many items as it may be; its labels are marked, count half, and are not asked for again."""
    found = _labelled(capsys, log, "--oracle", "relevant", "--labels", 10, "--random", 0.5, "--check", 3)
    n = sum(found["given"].values())
    assert n + found["unsure"] == 10
    assert n >= 5
    assert (found["failed"], found["checked"] <= 3, found["calls"] >= 10) == (0, True, True)
    labels = [row for row in rows_of(log, "outcomes") if row[4] == "label" and row[7] != "commit"]
    assert len(labels) == n
    assert {row[7].partition("@")[0] for row in labels} == {"oracle:relevant"}
    assert all(0.5 < row[6] <= 1 for row in labels)
    drawn = [row for row in rows_of(log, "outcomes") if row[4] == "sampled"]
    assert len(drawn) >= 5
    assert {row[6] for row in drawn} == {len(drawn) / 24}
    _labelled(capsys, log, "--oracle", "relevant", "--labels", 100)
    by_item = [(row[2], row[3]) for row in rows_of(log, "outcomes") if row[4] == "label"]
    assert len(by_item) == len(set(by_item))
    out = tmp_path / "set"
    assert main(["dataset", "build", "--cascade", "precision", "--log", str(log), "--out", str(out)]) == ExitCode.DONE
    capsys.readouterr()
    sources = json.loads((out / "manifest.json").read_text())["label_sources"]
    assert sources["commit"] == 4
    assert sum(n for source, n in sources.items() if source.startswith("oracle:relevant@")) >= n - 10
    tested = [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]
    assert all(len(task["items"]) == 1 for task in tested)


def test_a_cascade_labels(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cascade with the same labels may be the oracle, and one with others may not."""
    other = replace(PRECISION, name="other")
    config = CONFIG.model_copy(update={"cascade": {**CONFIG.cascade, "other": CONFIG.cascade["precision"]}})
    assert oracle_cascade(config, PRECISION, "other").stages == other.stages
    for name, message in (
        ("scope", "it has the label 'irrelevant', which 'precision' lacks"),
        ("precision", "it is the cascade itself"),
        ("nobody", "no such adapter, model or cascade. It has relevant, primary"),
    ):
        assert main([*LABEL, str(log), "--oracle", name, "--labels", "1"]) == ExitCode.BAD_INPUT
        told = capsys.readouterr().err
        assert message in told
    names = told.partition("It has ")[2].rstrip(".\n").split(", ")
    assert len(names) == len(set(names))


def test_questions_of_an_oracle() -> None:
    """All are put to it, at p(yes) of 0.5, without a prior; what only uncertain answers lead to is left out."""
    asked = oracle_cascade(CONFIG, PRECISION, "base")
    assert asked.prior_stage is None
    assert {question.adapter for question in asked.questions()} == {"base"}
    assert {question.threshold for question in asked.questions()} == {0.5}
    first, *rest = PRECISION.stages
    question = replace(first.questions[""], threshold=0.6, no_below=0.3)
    unsure = replace(first, questions={"": question}, uncertain=Target("review", is_label=True))
    handing = replace(PRECISION, labels=(*PRECISION.labels, "review"), stages=(unsure, *rest), prior_stage=None)
    assert handing.handed_on == ("review",)
    own = oracle_cascade(CONFIG, handing, "base")
    assert (own.labels, own.handed_on) == (PRECISION.labels, ())
    assert [stage.name for stage in own.stages] == [stage.name for stage in PRECISION.stages]


def test_what_it_is_not_sure_of_is_not_recorded(tmp_path: Path) -> None:
    """A label is recorded with its probability, which is the product along its way, and not below one half."""
    log = tmp_path / "log.sqlite3"
    (task,) = labelled_log(log, 1)

    def says(adapter: str, prompt: str) -> float:
        return {"relevant": 0.9, "primary": 0.55 if "item_0" in prompt.rpartition("task")[2] else 0.8}[adapter]

    asked = oracle_cascade(CONFIG, PRECISION, "base")
    stages = tuple(
        replace(stage, questions={"": replace(stage.questions[""], adapter=stage.name)}) for stage in asked.stages
    )
    own = replace(asked, stages=stages)
    with opened_log(log) as database, Engine(_backend(says), {own.name: own}) as engine:
        found = candidates(database, PRECISION, Reading(labels=PRECISION.answers))
        items = shown(database, [Pick(one, Why.RANDOM) for one in found])
        counts = Labels()
        (outcomes,) = label(Asking(engine=engine, cascade=own, name="big"), items, counts)
        report = engine.classify(task, [Item(id="1", name="item_1")])
    assert p_of(report.decisions[0], own) == pytest.approx(0.72)
    assert (counts.given, counts.unsure) == ({"primary": 3}, 1)
    assert {(one.label, one.value) for one in outcomes} == {("primary", 0.72)}
    assert "item-0" not in {one.item for one in outcomes}


def _backend(says: Any) -> ScriptedBackend:
    return ScriptedBackend(says, frozenset(PRECISION.adapters()))


def test_hashes_alone_cannot_be_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the log keeps no text nobody is asked, and the message says what to set."""
    log = tmp_path / "log.sqlite3"
    with DecisionLog(log):
        pass
    task, _ = symbols(1, 1)
    logged(log, [(task, items_of(3))], texts="hash")
    assert main([*LABEL, str(log), "--oracle", "base", "--labels", "2"]) == ExitCode.BAD_INPUT
    message = capsys.readouterr().err
    assert "the log keeps the text of none of 2 items, only hashes" in message
    assert 'texts = "full" under [log]' in message


def _refused(log: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    arguments = [*LABEL, str(log), "--oracle", "far", "--labels", "5", "--config", str(config)]
    assert main(arguments) == ExitCode.FAILURE
    return capsys.readouterr().err


@pytest.mark.slow
def test_a_server_labels(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter of the config that a server has is asked there; where nobody answers, nothing is recorded."""
    config, metrics = tmp_path / "own.toml", Metrics()
    before = rows_of(log, "outcomes")
    with Engine.open(observers=(metrics,)) as engine, serving(engine, metrics) as url:
        served = f'[servers.own]\nkind = "systemone"\nurl = "{url}"\n'
        text = shipped_text().replace("[adapters]\n", '[adapters]\nfar = { server = "own", name = "base" }\n')
        config.write_text(f"{text}\n{served}")
        found = _labelled(capsys, log, "--oracle", "far", "--labels", 5, "--config", config)
    assert sum(found["given"].values()) + found["unsure"] == 5
    after = rows_of(log, "outcomes")
    labels = [row for row in after[len(before) :] if row[4] == "label"]
    assert len(labels) == sum(found["given"].values())
    assert all(row[7].startswith("oracle:far@") for row in labels)
    assert f"Server 'own' at {url} does not answer /v1/models" in _refused(log, config, capsys)
    with ScriptedServer(Script(adapters=("base",), owner="me", fault=lambda _: Fault.ERROR)) as broken:
        config.write_text(f'{text}\n[servers.own]\nkind = "systemone"\nurl = "{broken.url}"\n')
        notes = re.findall(r"note: (\d+) items? without an answer: .*status 500", _refused(log, config, capsys))
    assert sum(map(int, notes)) == 5
    assert rows_of(log, "outcomes") == after
