"""Evidence of candidates: what a task's words and a file's ties say of an item."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from cascade.evidence.facts import FACTS, PLAIN, SIZED
from cascade.evidence.making import priors

ROOT = Path(__file__).parents[2]

ITEMS = """
from cascade.evidence.of_records import symbol_items
from cascade.evidence.records import SymbolRecord
from cascade.items import Task
from tests.helpers.ranker import simple_ranker

words = "parse config socket cache token stream buffer header cookie route".split()
names = ["_".join(word for at, word in enumerate(words) if n % (at + 2) < 2) + f"_{n}" for n in range(200)]
records = [SymbolRecord(path="a.py", qualname=n, kind="function", signature="", doc="", lines=3) for n in names]
task = Task(text=" ".join(words))
print([(item.priority.hex(), item.evidence) for item in symbol_items(task, records, [], simple_ranker())])
"""


def test_items_are_the_same_in_every_process() -> None:
    """To the last bit, however sets come in order; scores that were kept are found again by what items hold."""
    found = [
        subprocess.run(
            [sys.executable, "-c", ITEMS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(set(found)) == 1
    assert len(found[0]) > 1_000


def test_of_equals_what_must_be_changed_has_the_higher_prior() -> None:
    """It rises with both log odds, and what surely must be changed beats what is surely only read."""
    grid = np.linspace(-9, 9, 37)
    odds = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    found = priors(odds.reshape(-1, 2)).reshape(37, 37)
    assert (np.diff(found, axis=0) > 0).all()
    assert (np.diff(found, axis=1) > 0).all()
    surely_read, likely_changed = priors(np.array([[9.0, -9.0], [0.0, 3.0]]))
    assert surely_read < likely_changed


def test_a_symbol_has_a_lower_prior_among_many_that_look_like_it() -> None:
    """Its place counts, equals have the same, and the order in which symbols come changes nothing."""
    one, better = np.array([[1.0, 1.0]]), np.array([[2.0, 2.0]])
    alone, behind_one, behind_many = (priors(np.vstack([one, *[better] * n]))[0] for n in (0, 1, 40))
    assert alone > behind_one > behind_many
    assert len(set(priors(np.repeat(one, 9, axis=0)))) == 1
    assert priors(one * -6)[0] < 0.02  # to be the first of one is worth nothing
    odds = np.random.default_rng(3).normal(size=(50, 2))
    assert (priors(odds[::-1])[::-1] == priors(odds)).all()


def test_priors_are_probabilities_whatever_the_odds() -> None:
    """Log odds that no probability in double precision has give 0 and 1, and no warning."""
    with np.errstate(all="raise"):
        found = priors(np.array([[-900.0, -900.0], [-900.0, 900.0], [900.0, 900.0], [0.0, 0.0]]))
    assert found[:3].tolist() == [0.0, 0.0, 1.0]
    assert 0 < found[3] < 1
    assert priors(np.empty((0, 2))).tolist() == []


def test_the_readme_explains_every_word() -> None:
    """One row for each word, with the kind of its size, and no word that there is not."""
    page = (ROOT / "cascade" / "cli" / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| Evidence \| Size \| Says \|\n(.*?)\n(?:\n|\Z)", page, re.DOTALL | re.MULTILINE)
    assert table is not None
    rows = [row.split("|")[1:3] for row in table[1].splitlines()[1:]]
    explained = {fact: size.strip() for facts, size in rows for fact in re.findall("`(.*?)`", facts)}
    words = [re.sub(r"\d+$", "", fact) for fact in explained]
    assert set(explained) <= set(FACTS)
    assert sorted(words) == sorted([*SIZED, *PLAIN, "rank"])
    kinds = {23: {"log odds"}, 9: {"share", "number"}}
    assert all(
        explained[fact] in kinds.get(SIZED.get(word, 0), {""}) for fact, word in zip(explained, words, strict=True)
    )
