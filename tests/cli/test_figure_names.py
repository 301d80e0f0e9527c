"""One name for each figure: every recall, precision, macro F1 and AUC says whether it is per task or over rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.figures import Figure
from tests.helpers.shipped import write_shipped
from tests.tuning.test_search import write_data

pytestmark = pytest.mark.slow

MEANT = "per task|over all rows"
NAME = re.compile(r"\b(?:recall|macro F1|AUC|(?<!cascade )precision of|F1 (?!of the))\b")
KEYS = re.compile(r"^(?:recall|macro_f1|f1|auc|precision)(?:_|$)")


def clauses(text: str) -> Iterator[str]:
    """The parts of a text that name a figure."""
    for clause in re.split(r"[,;:\n|]|\.(?!\d)|\s{2,}", text):
        if NAME.search(clause):
            yield clause


def keys(value: object) -> Iterator[str]:
    """All keys of JSON."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from keys(entry)


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """Every command that judges a cascade, on twelve tasks with thresholds that guarantee something."""
    data, out, scores = tmp_path / "data.jsonl", tmp_path / "t.toml", tmp_path / "s.npz"
    tune = [*write_data(data, 12), "--scores", str(scores)]
    assert main([*tune, "--target", "recall=0.5", "--out", str(out)]) == ExitCode.DONE
    capsys.readouterr()
    new = tmp_path / "new.jsonl"
    new.write_text(data.read_text(encoding="utf-8").replace("config file", "config files"), encoding="utf-8")
    rest = ["--data", str(new), "--config", str(write_shipped(tmp_path / "my.toml", precision=out))]
    to_page = ["--html", str(tmp_path / "page")]
    return [
        [*tune, "--target", "recall=0.5"],
        [*tune, "--target", "recall_over_rows=0.4"],
        [*tune, "--no-guarantee", "--target", "macro_f1"],
        [*tune, "--no-guarantee", "--target", "precision=0.5"],
        ["evaluate", "--cascade", "precision", *rest],
        ["check", "precision", *rest, "--scores", str(tmp_path / "new.npz")],
        ["audit", "--cascade", "precision", *rest, *to_page, "--scores", str(tmp_path / "new.npz")],
        ["depth", "--cascade", "precision", *rest],
    ]


def test_every_figure_says_over_what_it_is_meant(
    commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the texts of all commands, in their JSON, and in the page of an audit."""
    n_named = 0
    for command in commands:
        assert main(command) == ExitCode.DONE
        for clause in clauses(capsys.readouterr().out):
            n_named += 1
            assert re.search(MEANT, clause), (command, clause)
        assert main([*command, "--json"]) == ExitCode.DONE
        for key in keys(json.loads(capsys.readouterr().out)):
            is_named = re.search("_per_task|_over_rows", key) or key in {"precision", "f1_points_per_100ms"}
            assert not KEYS.search(key) or is_named, (command, key)
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    shown = unescape(re.sub(r"<[^>]*>", "\n", page[page.index("<body>") :]))
    for clause in clauses(shown):
        n_named += 1
        assert re.search(MEANT, clause), clause
    assert n_named > 20


def test_words_are_those_of_the_name() -> None:
    """Files and JSON have the name, texts the words."""
    assert Figure.MACRO_F1_PER_TASK.words == "macro F1 per task"
    assert Figure.RECALL_OVER_ROWS.words == "recall over all rows"
    assert all(re.search(MEANT, figure.words) for figure in Figure)


def test_a_target_has_one_meaning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its whole name, or by its measure and a unit; not by two that differ, nor by what cannot be guaranteed."""
    command = [*write_data(tmp_path / "data.jsonl", 12), "--scores", str(tmp_path / "s.npz"), "--json", "--target"]
    for options in (
        ["recall_over_rows=0.4"],
        ["recall=0.4", "--unit", "row"],
        ["recall_over_rows=0.4", "--unit", "row"],
    ):
        assert main([*command, *options]) == ExitCode.DONE
        assert json.loads(capsys.readouterr().out)["guarantee"]["recall_over_rows"] == 0.4
    assert main([*command, "recall_over_rows=0.4", "--unit", "task"]) == ExitCode.BAD_INPUT
    assert "is not meant over --unit task" in capsys.readouterr().err
    assert main([*command, "macro_f1_over_rows=0.4"]) == ExitCode.BAD_INPUT
    assert "macro_f1_per_task" in capsys.readouterr().err
