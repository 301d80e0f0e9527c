"""JSON lines for a log: records, its own and those of other programs, and outcomes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cascade.log.database import opened_log
from cascade.log.entries import Body, BodyKind
from cascade.log.outcomes import LoggedOutcome, latest, read_outcomes
from cascade.log.record_import import Entry, add_entries, read_entries
from cascade.log.records import read_records
from cascade.log.store import add_outcomes, read_outcomes_of
from cascade.log.summary import summary
from tests.fuzz.row_inputs import lines, only_file
from tests.fuzz.target import Target
from tests.helpers.shipped import CASCADES

_HASHES = ("ab" * 32, "cd" * 32, "ef" * 32)
_CALL: dict[str, Any] = {
    "stage": "relevant", "tier": "", "question": _HASHES[2], "adapter": "relevant", "made_by": "ab", "model": "",
    "threshold": 0.5, "no_below": None, "p_yes": 0.75, "p_calibrated": 0.7, "probabilities": None, "answer": True,
    "ms": 1.5, "tokens": 10.0,
}  # fmt: skip
_FOREIGN: dict[str, Any] = {
    "v": 1,
    "id": "sha256:0",
    "ts": "2026-11-29T08:00:00Z",
    "model": "m-1",
    "request": {
        "state": {"task": {"text": "fix the parser"}, "item": {"id": "1", "name": "parse"}},
        "questions": {
            "relevant": {"type": "noul", "instructions": "does it matter?"},
            "kind": {"type": "choice", "instructions": "what is it?", "criteria": {"bug": None, "wish": "new"}},
        },
    },
    "answers": {
        "relevant": {"type": "noul", "noul": 0.75},
        "kind": {"type": "choice", "choice": "bug", "probabilities": {"bug": 0.75, "wish": 0.25}},
    },
    "label": {"relevant": True, "kind": "bug"},
    "tags": ["precision"],
}
_OWN = {
    "kind": "decision",
    "request": {
        "id": "01", "at": 1.5, "cascade": "precision", "task": "t", "is_scoring": False, "error": "",
        "stats": {"calls": 1}, "tree": _HASHES[0], "provenance": _HASHES[1],
    },
    "place": 0,
    "item": "1",
    "label": "primary",
    "status": "decided",
    "p_label": None,
    "cause": "",
    "calls": [
        _CALL,
        _CALL | {"stage": "kind", "p_yes": None, "probabilities": {"bug": 0.75, "wish": 0.25}, "answer": "bug"},
    ],
}  # fmt: skip
_OUTCOME = {"task": "t", "item": "1", "what": "label", "label": "primary", "value": 0.75, "source": "ann"}
_TOLD = {"kind": "outcome", "id": "02", "at": 2.5, **_OUTCOME}


def _taken(entries: list[Entry], path: Path) -> str:
    """Entries in a new log, as its lines."""
    with opened_log(path) as database:
        add_entries(database, entries)
        assert add_entries(database, entries) == {"requests": 0, "decisions": 0, "calls": 0, "outcomes": 0}
        assert summary(database, path).as_dict()
        return "".join(json.dumps(record, allow_nan=False) + "\n" for record in read_records(database))


def take_records(folder: Path) -> bool:
    """Import records, export them, and import and export them again: both exports are the same."""
    entries = list(read_entries(only_file(folder)))
    with tempfile.TemporaryDirectory() as name:
        first = _taken(entries, Path(name) / "first.sqlite3")
        again = Path(name) / "again.jevl"
        again.write_text(first, encoding="ascii")
        assert _taken(list(read_entries(again)), Path(name) / "second.sqlite3") == first
    return True


def take_outcomes(folder: Path) -> bool:
    """Read outcomes and keep them; all are there, and no two of those that count are of the same kind."""
    found = list(read_outcomes(only_file(folder), "task"))
    with tempfile.TemporaryDirectory() as name, opened_log(Path(name) / "log.sqlite3") as database:
        add_outcomes(database, [LoggedOutcome.of(one, 1.0, place) for place, one in enumerate(found)])
        kept = read_outcomes_of(database)
    assert len(kept) == len(found)
    assert len({(one.task, one.item, one.what) for one in latest(kept)}) == len(latest(kept))
    return True


_TREE = CASCADES["precision"].as_dict()
_BODIES = {"bodies": {Body.of(BodyKind.TREE, _TREE).hash: {"kind": "tree", "body": _TREE}}}

TARGETS = (
    Target(
        name="records",
        share=8,
        files=st.one_of(
            lines("foreign", _FOREIGN),
            lines("decisions", _FOREIGN | {"meta": {"cascade": _OWN}}),
            lines("bodies", _FOREIGN | {"meta": {"cascade": _OWN | _BODIES}}),
            lines("outcomes", _FOREIGN | {"meta": {"cascade": _TOLD}}),
        ),
        take=take_records,
    ),
    Target(name="outcomes", share=4, files=lines("outcomes", _OUTCOME), take=take_outcomes),
)
