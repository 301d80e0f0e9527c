"""JSON lines: items, labelled tasks and commit tasks; plain and gzipped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade.evaluation.dataset import read_items
from cascade.evaluation.score_file import labelled_tasks
from cascade.evaluation.scoring import data_fingerprint, scored_tasks
from tests.fuzz.answers import check_answers
from tests.fuzz.damage import damaged_bytes, damaged_tree
from tests.fuzz.target import Files, Target
from tests.helpers.shipped import CASCADES

_ITEM: dict[str, Any] = {
    "id": "1",
    "kind": "method",
    "name": "Parser.parse",
    "signature": "def parse(self, text: str) -> Tree",
    "doc": "Parse a text.",
    "text": "def parse(self, text): ...",
    "evidence": ["imports the seed", "task words in name: parse"],
    "group": {"name": "src/parser.py", "evidence": ["changes with it"]},
    "tiers": ["dependency", "co_change"],
    "priority": 1.5,
    "prior": 0.25,
}
_TASK: dict[str, Any] = {
    "id": "t1",
    "repository": "acme/parser",
    "task": "fix the parser\n\nit fails on empty input",
    "seeds": ["src/parser.py"],
    "items": [_ITEM | {"label": "primary"}, {"id": "2", "name": "Cache", "label": "excluded"}],
}
_COMMIT: dict[str, Any] = {
    "repo": "acme/parser",
    "commit": "ab" * 20,
    "task": "fix the parser",
    "seed": "src/parser.py",
    "files": [
        {
            "path": "src/cache.py",
            "doc": "A cache.",
            "symbols": ["Cache", "load"],
            "tiers": ["dependency", "metadata"],
            "evidence": {
                "imports_seed": True,
                "imported_by_seed": False,
                "co_changes": 3,
                "seed_changes": 10,
                "keyword_hits": ["parser"],
            },
            "relevant": True,
        }
    ],
    "symbols": [
        {
            "path": "src/cache.py",
            "qualname": "Cache.load",
            "kind": "method",
            "signature": "def load(self)",
            "doc": "Load it.",
            "lines": 12,
            "label": "supporting",
        }
    ],
}
_JOINTS = (b"\n", b"\r\n", b"\n\n", b"\r", b" \n", b"")


@st.composite
def lines(draw: DrawFn, name: str, row: dict[str, Any]) -> Files:
    """A file of one to three lines, damaged as values, as text, or as a gzip stream; rows with an id have their own."""
    own = "id" in row
    rows = [draw(damaged_tree(row | {"id": str(at)} if own else row)) for at in range(draw(st.integers(1, 3)))]
    joint = _JOINTS[draw(st.integers(0, len(_JOINTS) - 1))]
    data = joint.join(
        json.dumps(row, default=str, ensure_ascii=bool(draw(st.integers(0, 1)))).encode("utf-8", "surrogatepass")
        for row in rows
    )
    damage = draw(st.integers(0, 5))
    if damage == 0:
        data = draw(damaged_bytes(data))
    form = draw(st.integers(0, 3))
    if form < 2:
        return {f"{name}.jsonl": data}
    packed = gzip.compress(data, 1, mtime=0)
    if form == 3:
        packed = draw(damaged_bytes(packed))
    return {f"{name}.jsonl.gz" if damage != 1 else f"{name}.jsonl": packed}


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def take_items(folder: Path) -> bool:
    """Read items and classify them."""
    items = read_items(only_file(folder))
    check_answers({"precision": CASCADES["precision"]}, items)
    return True


def take_tasks(folder: Path) -> bool:
    """Read labelled tasks, classify their items, and make of them what commands make."""
    name = "scope" if only_file(folder).name.startswith("scope") else "precision"
    cascade = CASCADES[name]
    tasks = labelled_tasks([only_file(folder)], cascade).tasks
    for labelled in tasks:
        assert len(labelled.items) == len(labelled.labels)
        assert isinstance(labelled.headline, str)
        check_answers({name: cascade}, labelled.items, labelled.task)
    assert data_fingerprint(tasks)
    halves = np.full(sum(len(labelled.items) for labelled in tasks), 0.5)
    scored = scored_tasks(
        cascade, tasks, {(stage.name, tier): halves for stage in cascade.stages for tier in stage.questions}
    )
    assert scored.take(np.arange(scored.n_tasks)).fits(cascade)
    return True


TARGETS = (
    Target(name="items", share=10, files=lines("items", _ITEM), take=take_items),
    Target(name="tasks", share=8, files=lines("tasks", _TASK), take=take_tasks),
    Target(
        name="commits",
        share=8,
        files=st.one_of(lines("precision", _COMMIT), lines("scope", _COMMIT)),
        take=take_tasks,
    ),
)
