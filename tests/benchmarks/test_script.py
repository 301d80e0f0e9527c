"""What the benchmarks' scripts take on the command line, and how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.guarantee import simulated
from benchmarks.script import check_scores, count, fraction, kept_scores, run_script
from benchmarks.shipped import CASCADES
from benchmarks.shipped import main as write_shipped
from cascade.config.schema import read_config
from cascade.errors import BackendError, InputError


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (count, "0", "'0' is given; give a whole number"),
        (count, "-3", "'-3' is given"),
        (count, "1.5", "'1.5' is given"),
        (fraction, "1.5", "'1.5' is given; give a share"),
        (fraction, "nan", "'nan' is given"),
        (fraction, "much", "'much' is given"),
        (kept_scores, "/nowhere", "/nowhere: there is no such file; `cascade tune --scores FILE` makes one"),
        (kept_scores, __file__, "holds no scores"),
    ],
)
def test_what_a_script_cannot_use_is_said(read: Callable[[str], object], text: str, words: str) -> None:
    """The argument is refused with what was given and what is allowed."""
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        read(text)


def test_numbers_that_a_script_can_use() -> None:
    """Counts from 1 on, shares from 0 to 1."""
    assert [count("1"), count("1000")] == [1, 1_000]
    assert [fraction("0"), fraction("0.05"), fraction("1")] == [0, 0.05, 1]


def test_scores_of_another_cascade_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The script ends with 2, and names the cascade."""
    with pytest.raises(SystemExit) as ended:
        check_scores(argparse.ArgumentParser(), CASCADES["scope"], simulated(0, 5))
    assert ended.value.code == 2
    assert "other questions than scope asks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("bad"), 2), (BackendError("bad"), 1), (OSError("bad"), 1), (KeyboardInterrupt(), 130)],
)
def test_a_script_that_fails_says_so_in_one_line(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, and the exit code that the command has for it."""

    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_script(fail)
    assert ended.value.code == code
    assert capsys.readouterr().err in {"error: bad\n", "error: interrupted\n"}


def test_the_shipped_questions_alone_as_a_config(tmp_path: Path) -> None:
    """It reads anywhere, has the questions and their own thresholds, and nothing that settles items before."""
    write_shipped([str(tmp_path / "alone.toml")])
    assert read_config(tmp_path / "alone.toml").cascades() == CASCADES
