"""JSON lines from outside: what is accepted, and how refusals read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cascade import InputError
from cascade.rows import Format, read_items, read_labelled
from tests.shipped import CASCADES

COMMIT: dict[str, Any] = {
    "repo": "someone/something",
    "commit": "0" * 40,
    "date": "2026-01-01",
    "task": "read the config twice",
    "seed": "a.py",
    "files": [
        {"path": "b.py", "symbols": ["f"], "tiers": ["dependency", "co_change"], "relevant": True,
         "evidence": {"imports_seed": True, "co_changes": 3, "seed_changes": 4}},
        {"path": "c.py", "tiers": ["metadata"], "evidence": {"keyword_hits": ["config"]}, "relevant": False},
    ],
    "missed": 0,
    "symbols": [
        {"id": "a.py::read", "path": "a.py", "qualname": "read", "kind": "function",
         "signature": "def read(path)", "doc": "Read the config.", "lines": 9, "label": "primary"},
        {"id": "b.py::F", "path": "b.py", "qualname": "F", "kind": "class", "lines": 3, "label": "excluded"},
    ],
}  # fmt: skip


def _write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_items_are_read_with_their_groups(tmp_path: Path) -> None:
    """Every field arrives, blank lines are skipped, and gzip makes no difference."""
    row = {
        "id": "1",
        "name": "f",
        "group": {"name": "a.py", "evidence": ["seed"]},
        "tiers": ["metadata"],
        "priority": 2,
    }
    path = _write(tmp_path / "items.jsonl", row)
    path.write_text(path.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    plain, packed = read_items(path), read_items(tmp_path / "items.jsonl.gz")
    assert plain == packed
    assert plain[0].group is not None
    assert (plain[0].kind, plain[0].group.evidence, plain[0].priority) == ("item", ("seed",), 2.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"id": "1", "name": "f"}\n{"id": "2"}', ["line 2", "name"]),
        ('{"id": "", "name": "f"}', ["line 1", "id"]),
        ('{"id": "1", "name": "f", "colour": "red"}', ["line 1", "colour"]),
        ('{"id": "1", "name": "f", "priority": "NaN"}', ["finite"]),
        ("[1]", ["line 1", "list", "object"]),
        ("{", ["line 1", "JSON"]),
        ("[" * 100_000, ["line 1", "JSON"]),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, words: list[str]) -> None:
    """The message has the file, the line, and what is wrong with it."""
    path = tmp_path / "items.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_items(path)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", gzip.compress(b"{}" * 99)[:20]])
def test_an_unreadable_file_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    """Wrong encodings and broken archives are refused in one line."""
    path = tmp_path / ("items.jsonl.gz" if content[:2] == b"\x1f\x8b" else "items.jsonl")
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_items(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_items(tmp_path / "absent.jsonl")


def test_commit_tasks_are_recognised_and_feed_both_cascades(tmp_path: Path) -> None:
    """Symbols go to precision, files with their tiers to scope, each with the truth."""
    path = _write(tmp_path / "tasks.jsonl", COMMIT)
    (symbols,) = read_labelled(path, CASCADES["precision"])
    (files,) = read_labelled(path, CASCADES["scope"])
    assert symbols.labels == ("primary", "excluded")
    assert symbols.task.seeds == ("a.py",)
    assert symbols.items[0].group is not None
    assert symbols.items[0].group.evidence[0] == "seed"
    assert files.labels == ("relevant", "irrelevant")
    assert [item.tiers for item in files.items] == [("dependency", "co_change"), ("metadata",)]


def test_labelled_items_are_read(tmp_path: Path) -> None:
    """A line of the items format is a task with items and labels."""
    row = {"task": "t", "seeds": ["a.py"], "items": [{"id": "1", "name": "f", "label": "primary"}]}
    (found,) = read_labelled(_write(tmp_path / "tasks.jsonl", row), CASCADES["precision"])
    assert (found.task.seeds, found.labels, found.items[0].name) == (("a.py",), ("primary",), "f")


def test_a_forced_format_and_an_unknown_label_are_refused_clearly(tmp_path: Path) -> None:
    """--format commits demands its fields; a label must be one of the cascade's."""
    row = {"task": "t", "items": [{"id": "1", "name": "f", "label": "vital"}]}
    path = _write(tmp_path / "tasks.jsonl", row)
    with pytest.raises(InputError, match=r"line 1: field 'repo'"):
        list(read_labelled(path, CASCADES["precision"], Format.COMMITS))
    with pytest.raises(InputError, match=r"label 'vital' is not one of cascade 'precision': excluded, primary"):
        list(read_labelled(path, CASCADES["precision"]))
