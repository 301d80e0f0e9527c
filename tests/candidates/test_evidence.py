"""Evidence of candidates: what a task's words and a file's ties say of an item."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

ITEMS = """
from cascade.candidates.evidence import symbol_items
from cascade.candidates.records import SymbolRecord
from cascade.items import Task

words = "parse config socket cache token stream buffer header cookie route".split()
names = ["_".join(word for at, word in enumerate(words) if n % (at + 2) < 2) + f"_{n}" for n in range(200)]
records = [SymbolRecord(path="a.py", qualname=n, kind="function", signature="", doc="", lines=3) for n in names]
print([(item.priority.hex(), item.evidence) for item in symbol_items(Task(text=" ".join(words)), records, [])])
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
