"""What the scripts here share: what they take on the command line, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from cascade.errors import CascadeError, InputError
from cascade.evaluation.replay import own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import load_scores
from cascade.tree import Cascade


def count(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if not text.isdecimal() or int(text[:18]) < 1:
        msg = f"{text!r} is given; give a whole number from 1 on"
        raise argparse.ArgumentTypeError(msg)
    return int(text[:18])


def fraction(text: str) -> float:
    """A share between 0 and 1, for argparse."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        msg = f"{text!r} is given; give a share from 0 to 1"
        raise argparse.ArgumentTypeError(msg)
    return found


def kept_scores(text: str) -> ScoredTasks:
    """The scores that ``cascade tune --scores`` kept in a file, for argparse."""
    try:
        found = load_scores(Path(text), None)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found is None:
        msg = f"{text}: there is no such file; `cascade tune --scores FILE` makes one"
        raise argparse.ArgumentTypeError(msg)
    return found


def check_scores(parser: argparse.ArgumentParser, cascade: Cascade, scored: ScoredTasks) -> None:
    """End the script where scores are of other questions than a cascade asks."""
    if set(own_thresholds(cascade)) != set(scored.p):
        parser.error(f"--scores has scores of other questions than {cascade.name} asks; name theirs by --cascade")


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """End the process as a script does: errors in one line, with the exit codes of ``cascade``."""
    try:
        sys.exit(main())
    except CascadeError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, InputError) else 1)
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)
