"""What the pages show is what happens: sessions and programs run, configs read, JSON has the real keys."""

from __future__ import annotations

import dataclasses
import doctest
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import Config, read_config, shipped_config
from cascade.evaluation.dataset import read_items, read_labelled
from cascade.items import Item
from cascade.report import Decision, Provenance, Report, Statistics, Status, Step
from cascade.service.schemas import CascadeCall
from tests.helpers.pages import PAGES, blocks, text_of

README = "README.md"
CLI, CONFIG, ENGINE, DATA, SERVICE = (
    f"cascade/{name}/README.md" for name in ("cli", "config", "engine", "evaluation", "service")
)
ELSEWHERE = ("cascade/integrations/README.md", "cascade/ray/README.md")
"""Pages whose programs run in tests of their rooms, beside a file that they open or on a cluster."""
MOST_LINES = 200


def _with(language: str, mark: str = "") -> list[str]:
    """The pages that have blocks of a language in which something stands."""
    return [page.as_posix() for page in PAGES if any(mark in block for block in blocks(page, language))]


def _programs(page: str) -> list[str]:
    return [block for block in blocks(page, "python") if ">>>" not in block]


def _keys(value: object) -> object:
    """The keys of nested objects, values left out."""
    if isinstance(value, dict):
        return {key: _keys(entry) for key, entry in value.items() if key != "adapters"}
    return _keys(value[0]) if isinstance(value, list) and value else None


def _read(text: str, folder: Path) -> Config:
    """A config as a page shows it: whole, extending another, or as tables to add to that of the config page."""
    base = blocks(CONFIG, "toml")[0]
    (folder / "base.toml").write_text(base, encoding="utf-8")
    (folder / "files.profile.toml").write_text("[pass_rates]\nrelevant = 0.2\n[prior]\nbias = -2.0\n", encoding="utf-8")
    shutil.copy(shipped_config().parent / "precision.thresholds.toml", folder / "my.thresholds.toml")
    if text.startswith("[[cascade.files.stages]]"):
        text += base[base.index("[[cascade.files.stages]]") :]
    if not text.startswith(("[model", "extends")):
        text = f'extends = "base.toml"\n{text}'
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return read_config(path)


@pytest.mark.parametrize("page", _with("python", ">>>"))
def test_sessions_run(page: str) -> None:
    """Every Python session gives what its page says."""
    sessions = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(sessions, {}, page, page, 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.summarize().attempted > 0
    assert not runner.summarize().failed


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in _with("python") if _programs(page) and page not in ELSEWHERE])
def test_programs_run(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python program runs as it stands, on the shipped model, and gives every item a label."""
    known: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n".join(_programs(page)), page, "exec"), known)  # noqa: S102 - the page's own code
    report = known["report"]
    assert len(report.decisions) == len(known["items"]) == 2
    printed = capsys.readouterr().out
    assert all(f"{decision.id} {decision.label}" in printed for decision in report.decisions) or not printed


@pytest.mark.parametrize("page", _with("toml"))
def test_configs_read(page: str, tmp_path: Path) -> None:
    """Every example of a config is a config, alone or with what it adds to."""
    for text in blocks(page, "toml"):
        assert _read(text, tmp_path).cascades()


def test_a_config_that_extends_the_shipped_one_has_its_cascades(tmp_path: Path) -> None:
    """The example lays a file of thresholds over the shipped config."""
    assert _read(blocks(CONFIG, "toml")[1], tmp_path).cascades() == read_config(shipped_config()).cascades()


def test_what_is_uncertain_goes_to_a_larger_model_and_then_to_review(tmp_path: Path) -> None:
    """The example of uncertain answers has a second stage for those of the first, and hands on those of the second."""
    (cascade,) = _read(blocks(CONFIG, "toml")[2], tmp_path).cascades().values()
    assert [stage.uncertain and stage.uncertain.name for stage in cascade.stages] == ["sound", "review"]
    assert cascade.handed_on == ("review",)


def test_a_prior_stage_stands_first(tmp_path: Path) -> None:
    """The example of a prior stage stands before the stages of the first example."""
    (cascade,) = _read(blocks(CONFIG, "toml")[4], tmp_path).cascades().values()
    assert cascade.prior_stage is not None
    assert [stage.name for stage in cascade.stages] == ["relevant", "change"]


def test_budgets_come_from_the_config(tmp_path: Path) -> None:
    """The example of engine keys sets budget, depth and profile of the first example."""
    config = _read(blocks(CONFIG, "toml")[5], tmp_path)
    assert (config.cascade["files"].budget().ms, config.cascade["files"].budget().depth) == (250, 2)
    assert config.cascades()["files"].profile.pass_rate("relevant") == 0.2


def test_items_are_items(tmp_path: Path) -> None:
    """The example of --items has every field of an item and makes one."""
    path = tmp_path / "items.jsonl"
    path.write_text(blocks(DATA, "json")[0], encoding="utf-8")
    (item,) = read_items(path)
    assert item.group
    assert list(json.loads(blocks(DATA, "json")[0])) == [entry.name for entry in dataclasses.fields(Item)]


def test_labelled_tasks_are_tasks(tmp_path: Path) -> None:
    """The example of a labelled task can be evaluated with the shipped cascade."""
    path = tmp_path / "labelled.jsonl"
    path.write_text(blocks(DATA, "json")[1], encoding="utf-8")
    (labelled,) = read_labelled(path, read_config(shipped_config()).cascades()["precision"])
    assert labelled.labels == ("primary", "excluded")


def test_the_report_has_the_real_keys() -> None:
    """The example report has the keys that a report has."""
    shown: dict[str, Any] = json.loads(blocks(DATA, "json")[2])
    step = Step(stage="s", tier="", adapter="a", p_yes=0.5, threshold=0.5, answer=True)
    provenance = Provenance(model="m", adapters={}, prompt_format="embedded", label_tokens=(1, 2))
    decision = Decision(id="1", label="l", status=Status.DECIDED, steps=(step,), provenance=provenance)
    report = Report(cascade="c", decisions=(decision,), stats=Statistics(), provenance=provenance)
    assert _keys(shown) == _keys(report.as_dict())
    assert all(f"`{status}`" in text_of(DATA) for status in Status)


def test_calls_of_the_service_are_calls() -> None:
    """The body that curl sends is one that the service takes."""
    words = shlex.split("\n".join(blocks(SERVICE, "sh")), comments=True)
    bodies = [words[place + 1] for place, word in enumerate(words) if word == "-d"]
    assert [CascadeCall.model_validate_json(body).budget_ms for body in bodies] == [250]


def test_exit_codes() -> None:
    """The table of exit codes has every one."""
    assert set(re.findall(r"^\| (\d+) \|", text_of(CLI), flags=re.MULTILINE)) == {str(int(code)) for code in ExitCode}


def test_the_drawing_is_what_the_command_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """The tree at the top is the shipped cascade as the command draws it, before what its thresholds guarantee."""
    assert main(["config", "show", "precision"]) == ExitCode.DONE
    drawing, is_there, _ = capsys.readouterr().out.partition("Guaranteed of these thresholds")
    assert is_there
    assert drawing in text_of(README)


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """The README has at most 200 lines, and a link to each other page."""
    assert len(text_of(README).splitlines()) <= MOST_LINES
    for page in PAGES:
        assert page.as_posix() == README or f"]({page.as_posix()})" in text_of(README), page
