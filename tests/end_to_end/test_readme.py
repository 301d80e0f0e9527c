"""The README tells the truth: its sessions run, its config reads, its JSON has the real keys."""

from __future__ import annotations

import dataclasses
import doctest
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import read_config, shipped_config
from cascade.evaluation.dataset import read_items, read_labelled
from cascade.items import Item
from cascade.report import Decision, Provenance, Report, Statistics, Status, Step

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def keys(value: object) -> object:
    """The keys of nested objects, values left out."""
    if isinstance(value, dict):
        return {key: keys(entry) for key, entry in value.items() if key != "adapters"}
    return keys(value[0]) if isinstance(value, list) and value else None


def test_sessions_run() -> None:
    """Every Python session gives what the README says."""
    sessions = "\n".join(block for block in blocks("python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(sessions, {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.summarize().attempted > 0
    assert not runner.summarize().failed


def test_the_config_reads(tmp_path: Path) -> None:
    """The example config is a config, alone and with what budgets and a prior stage add to it."""
    text, _, prior, more, servers = blocks("toml")
    (tmp_path / "files.profile.toml").write_text(
        "[pass_rates]\nrelevant = 0.2\n[prior]\nbias = -2.0\n", encoding="utf-8"
    )
    path = tmp_path / "my.toml"
    with_budget = text.replace("[cascade.files]\n", more)
    with_servers = re.sub(r"\[adapters\].*?\n\n", lambda _: servers + "\n", text, count=1, flags=re.DOTALL)
    assert with_servers != text
    for whole in (text, with_servers, with_budget, with_budget.replace("[[cascade", prior + "[[cascade", 1)):
        path.write_text(whole, encoding="utf-8")
        config = read_config(path)
        assert list(config.cascades()) == ["files"]
    assert config.cascade["files"].budget().ms == 250
    assert config.cascades()["files"].profile.pass_rate("relevant") == 0.2


def test_a_config_that_extends_another_reads(tmp_path: Path) -> None:
    """The example lays a file of thresholds over the shipped config."""
    text = blocks("toml")[1]
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    shutil.copy(shipped_config().parent / "precision.thresholds.toml", tmp_path / "my.thresholds.toml")
    assert read_config(path).cascades() == read_config(shipped_config()).cascades()


def test_items_are_items(tmp_path: Path) -> None:
    """The example of --items has every field of an item and makes one."""
    path = tmp_path / "items.jsonl"
    path.write_text(blocks("json")[0], encoding="utf-8")
    (item,) = read_items(path)
    assert item.group
    assert list(json.loads(blocks("json")[0])) == [entry.name for entry in dataclasses.fields(Item)]


def test_labelled_tasks_are_tasks(tmp_path: Path) -> None:
    """The example of a labelled task can be evaluated with the shipped cascade."""
    path = tmp_path / "labelled.jsonl"
    path.write_text(blocks("json")[1], encoding="utf-8")
    (labelled,) = read_labelled(path, read_config(shipped_config()).cascades()["precision"])
    assert labelled.labels == ("primary", "excluded")


def test_the_report_has_the_real_keys() -> None:
    """The example report has the keys that a report has."""
    shown: dict[str, Any] = json.loads(blocks("json")[2])
    step = Step(stage="s", tier="", adapter="a", p_yes=0.5, threshold=0.5, answer=True)
    provenance = Provenance(model="m", adapters={}, prompt_format="embedded", label_tokens=(1, 2))
    decision = Decision(id="1", label="l", status=Status.DECIDED, steps=(step,), provenance=provenance)
    report = Report(cascade="c", decisions=(decision,), stats=Statistics(), provenance=provenance)
    assert keys(shown) == keys(report.as_dict())
    assert all(f"`{status}`" in README for status in Status)


def test_exit_codes() -> None:
    """The table of exit codes has every one."""
    assert set(re.findall(r"^\| (\d+) \|", README, flags=re.MULTILINE)) == {str(int(code)) for code in ExitCode}


def test_the_drawing_is_what_the_command_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The tree at the top is the shipped cascade as the command draws it, before what its thresholds guarantee."""
    assert main(["config", "show", "precision"]) == ExitCode.DONE
    drawing, is_there, _ = capsys.readouterr().out.partition("Guaranteed of these thresholds")
    assert is_there
    assert drawing in README
