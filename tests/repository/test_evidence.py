"""Evidence of candidates: what a task's words and a file's ties say of an item."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cascade.evidence.of_records import file_items, symbol_items
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.items import Task

ROOT = Path(__file__).parents[2]

ITEMS = """
from cascade.evidence.of_records import symbol_items
from cascade.evidence.records import SymbolRecord
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


def word_of(fact: str) -> str:
    """A fact without its number, or without the task's words behind it."""
    return fact if fact == "owner named" else re.sub(r"\d+$", "", fact.split(maxsplit=1)[0])


def test_the_readme_explains_every_word() -> None:
    """Of symbols, files and groups with all ties that there are, and it explains no word that there is not."""
    task = Task(text="parse Parser.feed of the config Buffer", seeds=("a/config.py",))

    def symbol(path: str, qualname: str, signature: str = "", doc: str = "") -> SymbolRecord:
        return SymbolRecord(path=path, qualname=qualname, kind="class", signature=signature, doc=doc, lines=8)

    symbols = [
        symbol("a/config.py", "Parser", "(Buffer)"), symbol("a/config.py", "Parser.feed", "def feed", "Parse."),
        symbol("b/other.py", "Buffer"), symbol("b/other.py", "Buffer.parse"), symbol("c/far.py", "Buffer"),
    ]  # fmt: skip
    files = [
        FileRecord(path="a/config_reader.py", doc="Parse.", symbols=("parse",), imports_seed=True, co_changes=3,
                   seed_changes=4, keyword_hits=("config",)),
        FileRecord(path="b/other.py", imported_by_seed=True, seed_changes=4),
    ]  # fmt: skip
    items = [*symbol_items(task, symbols, files), *file_items(task, files)]
    info = [fact for item in items for fact in (*item.evidence, *(item.group.evidence if item.group else ()))]
    page = (ROOT / "cascade" / "cli" / "README.md").read_text(encoding="utf-8")
    rows = re.search(r"^\| Evidence \| Says \|\n(.*?)\n(?:\n|\Z)", page, re.DOTALL | re.MULTILINE)
    assert rows is not None
    explained = [fact for row in rows[1].splitlines()[1:] for fact in re.findall("`(.*?)`", row.split("|")[1])]
    assert {word_of(fact) for fact in info} == {word_of(fact) for fact in explained}
