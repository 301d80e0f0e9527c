"""Tables of the command line: no word is lost or broken, however narrow the terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.cli.tables import Hanging, Sheet, threshold_text
from tests.helpers.terminal import on_terminal


def sheet(width: int, found: Sheet) -> list[str]:
    """The lines of a table of figures."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    found.show(console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def figures() -> Sheet:
    """A table that takes 42 cells with its heads in one line, and 31 at least."""
    found = Sheet(("question",), ("base rate of all", "error"))
    found.add("relevant", "12.5%", "8.5% (6 to 11)")
    return found


def test_heads_are_broken_before_columns_are_given_up() -> None:
    """In one line if there is room, between words if there is less; cells are never broken."""
    assert sheet(60, figures()) == [
        "question  base rate of all           error",
        "relevant             12.5%  8.5% (6 to 11)",
    ]
    assert sheet(36, figures()) == [
        "           base rate",
        "question      of all           error",
        "relevant       12.5%  8.5% (6 to 11)",
    ]


def test_rows_become_lines_where_columns_do_not_fit() -> None:
    """Every head stands before its cell, and what follows the first line is set in."""
    assert sheet(28, figures()) == ["question relevant", "  base rate of all 12.5%", "  error 8.5% (6 to 11)"]


def test_sentences_share_what_is_left() -> None:
    """They are broken between words; where even that leaves too little, rows become lines."""
    found = Sheet(("item",), sentences=("task",))
    found.add("class Flask", "make the debugger reload templates when they have changed on disk")
    assert sheet(60, found)[1:] == [
        "class Flask  make the debugger reload templates when they",
        "             have changed on disk",
    ]
    assert sheet(34, found)[:2] == ["item class Flask", "  task make the debugger reload"]


def test_a_sheet_writes_nothing_that_a_terminal_acts_on() -> None:
    """Controls in names, which come from config and data files, are taken out."""
    found = Sheet(("stage\x1b[31m",), ("n",))
    found.add("a\x1b]0;title\x07b", "1")
    assert all(sign.isprintable() for line in sheet(40, found) for sign in line)


@pytest.mark.slow
def test_the_doctors_long_values_are_whole(tmp_path: Path) -> None:
    """A path that is longer than the terminal is broken, but nothing of it is left out."""
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    (folder / "c.toml").write_text("", encoding="utf-8")
    code, out = on_terminal(80, ["doctor", "--config", str(folder / "c.toml")])
    assert code == 1
    assert str(folder / "c.toml") in re.sub(r"\s+", "", out)
    assert "\u2026" not in out


@pytest.mark.slow
def test_json_is_the_same_on_a_terminal() -> None:
    """Its lines are not broken."""
    code, out = on_terminal(40, ["config", "show", "precision", "--json"])
    assert code == 0
    assert json.loads(out)["name"] == "precision"


def test_further_lines_of_a_text_are_indented() -> None:
    """A text that is wider than the terminal goes on below, further in than it began; no line is too long."""
    console = Console(width=20, file=io.StringIO(), color_system=None)
    console.print(Hanging("a word and some more words of it", 2))
    console.print(Hanging("short"))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines == ["  a word and some", "    more words of it", "short"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.999999, "0.999999"), (0.25, "0.25"), (1.0, "1"), (0.99, "0.99"), (0.123456, "0.1235")]
)
def test_a_threshold_that_is_not_1_does_not_look_so(value: float, text: str) -> None:
    """Digits are added where rounding would give 0 or 1."""
    assert threshold_text(value, ".4g") == text


@pytest.mark.parametrize(
    "command", ["tune", "classify", "audit", "depth", "check", "evaluate", "serve", "quantize", "train"]
)
def test_help_on_80_columns_cuts_no_word(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that are longer than their column would end in an ellipsis."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([command, "--help"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "…" not in shown
    if command == "tune":
        assert {"recall_or_handed_on=0.95,", "accuracy_among_answered=0.95,", "false_positives,"} <= set(shown.split())
