"""JSON lines from outside: what is accepted, and how refusals read."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cascade.errors import InputError
from cascade.evaluation.dataset import Format, read_items, read_labelled, read_tasks
from cascade.evidence.facts import FACTS
from cascade.stages import ANY_TIER
from cascade.tree import ItemKind
from tests.helpers.shipped import CASCADES

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
        ('{"id": "1", "name": "f", "priority": "NaN"}', ["line 1", "priority", "number"]),
        ('{"id": "1", "name": "f", "priority": NaN}', ["line 1", "JSON", "at column 38"]),
        ('{"id": "1", "name": "f", "priority": 1e999}', ["line 1", "priority", "finite"]),
        ('{"id": "1", "name": "f", "priority": %s}' % ("7" * 5_000), ["line 1", "number out of range"]),
        ('{"id": "1", "name": "f", "priority": %s}' % ("7" * 4_000), ["line 1", "priority"]),
        ('{"id": "1", "name": "f", "prior": 1.5}', ["line 1", "prior", "1.5"]),
        ('{"id": "1", "name": "f", "prior": true}', ["line 1", "prior", "number"]),
        ('{"id": "1", "name": "f", "tiers": ["a", "a"]}', ["line 1", "tiers", "twice"]),
        ('{"id": "1", "name": " \\t "}', ["line 1", "name", "blank"]),
        ('{"id": "1", "name": "f\\udcff"}', ["line 1", "JSON", "half of a surrogate pair", "column 2"]),
        ('{"id": "1", "name": "f"}\n\n{"id": "1", "name": "g"}', ["line 3", "'id'", "line 1"]),
        ('{"id": 1, "name": "f"}', ["line 1", "'id'", "string"]),
        ('{"id": "1", "name": "f", "group": {"name": "a", "name": "b"}}', ["line 1", "'name' twice"]),
        ('{"id": "1", "name": "\\ud800"}', ["line 1", "JSON", "half of a surrogate pair"]),
        ("\0", ["line 1", "zero byte"]),
        ("null", ["line 1", "is null"]),
        ('{\n"id": "1", "name": "f"}', ["line 1", "JSON", "column 1)"]),
        ("[1]", ["line 1", "an array", "object"]),
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
    assert all(word in str(caught.value) for word in [str(path), *words])


ITEM: dict[str, Any] = {"id": "1", "name": "f", "label": "primary"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"task": " \t", "items": [ITEM]}, "field 'task': it is blank"),
        ({"task": "t", "items": [ITEM, ITEM]}, "field 'items.1.id': '1' is the id of items.0 as well"),
        ({"task": "t", "items": [ITEM | {"prior": -1}]}, "field 'items.0.prior'"),
        (
            {"task": "t", "items": [ITEM | {"label": "vital"}]},
            "field 'items.0.label': 'vital' is no label of cascade 'precision'; allowed are excluded",
        ),
        ({"task": "t"}, "field 'items': it is missing. Add it."),
        ({"task": "t", "itmes": []}, "field 'items': it is missing. Add it; unknown beside it: itmes."),
        (
            {"task": "t", "items": [ITEM | {"docs": "d"}]},
            "field 'items.0.docs': there is no such field. Did you mean 'doc'? Remove it",
        ),
        ({"task": 1, "items": []}, "field 'task': must be a string (given 1)."),
        ({"task": "t", "seeds": None, "items": []}, "field 'seeds': must be an array (given null)."),
        (
            {"task": "t", "items": [ITEM | {"evidence": "a"}]},
            """field 'items.0.evidence': must be an array (given "a").""",
        ),
        ({"task": "t", "items": [ITEM | {"group": []}]}, "field 'items.0.group': must be an object (given an array)."),
        ({"task": "t", "items": [ITEM | {"prior": True}]}, "field 'items.0.prior': must be a number (given true)."),
        ({"task": "t", "items": [ITEM | {"id": {"a": 1}}]}, "field 'items.0.id': must be a string (given an object)."),
        (COMMIT | {"symbols": {}}, "field 'symbols': must be an array (given an object)."),
        (
            {"task": "t", "items": [ITEM | {"colour": "red"}]},
            "field 'items.0.colour': there is no such field. Remove it",
        ),
        (COMMIT | {"task": ""}, "field 'task': it is blank"),
        (COMMIT | {"symbols": COMMIT["symbols"] * 2}, "field 'symbols.2.id': 'a.py::read' is the id of symbols.0"),
        (COMMIT | {"symbols": [COMMIT["symbols"][0] | {"lines": -1}]}, "field 'symbols.0.lines'"),
        (COMMIT | {"symbols": [COMMIT["symbols"][0] | {"qualname": ""}]}, "field 'symbols.0.qualname': it is blank"),
    ],
)
def test_a_bad_task_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    """Whatever an engine would refuse is refused at the line and the field where it stands."""
    path = _write(tmp_path / "tasks.jsonl", COMMIT, row)
    with pytest.raises(InputError, match=re.escape(f"{path}, line 2: {words}")):
        read_tasks([path], CASCADES["precision"])


def test_tiers_are_checked_where_they_stand(tmp_path: Path) -> None:
    """Items and tasks without the tiers that a cascade asks by are refused by file and line."""
    items = _write(tmp_path / "items.jsonl", {"id": "1", "name": "f", "tiers": ["metadata"]}, {"id": "2", "name": "f"})
    with pytest.raises(InputError, match=r"line 2: field 'tiers': .*asks by tier"):
        read_items(items, CASCADES["scope"])
    files = [COMMIT["files"][0] | {"tiers": ["nowhere"]}]
    tasks = _write(tmp_path / "tasks.jsonl", COMMIT | {"files": files})
    with pytest.raises(InputError, match=r"line 1: field 'files.0.tiers': .*nowhere"):
        read_tasks([tasks], CASCADES["scope"])


def test_files_without_tasks_are_refused(tmp_path: Path) -> None:
    """A file that has no task, and tasks that have no item, are bad input, not figures of nothing."""
    full, blank = _write(tmp_path / "full.jsonl", COMMIT), tmp_path / "blank.jsonl"
    blank.write_text("\n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"blank\.jsonl: has no tasks"):
        read_tasks([full, blank], CASCADES["precision"])
    bare = _write(tmp_path / "bare.jsonl", {"task": "t", "items": []})
    with pytest.raises(InputError, match=r"bare\.jsonl: no task has an item"):
        read_tasks([bare], CASCADES["precision"])
    assert len(read_tasks([bare, full], CASCADES["precision"])) == 2


def test_joined_files_with_marks_are_read(tmp_path: Path) -> None:
    """Files with a byte order mark that were joined have one at each beginning."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "1", "name": "f"}\r\n\xef\xbb\xbf{"id": "2", "name": "g"}\r\n')
    assert [item.name for item in read_items(path)] == ["f", "g"]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", gzip.compress(b"{}" * 99)[:20]])
def test_an_unreadable_file_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    """Wrong encodings, broken archives and missing files are refused in one line."""
    path = tmp_path / "items.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is not UTF-8|is damaged"):
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


def test_a_cascade_without_tiers_may_be_asked_about_files(tmp_path: Path) -> None:
    """What a commit task's items are is the cascade's own word, whether or not its stages ask by tier."""
    first = CASCADES["scope"].first
    one = next(iter(first.questions.values()))
    plain = replace(first, questions={ANY_TIER: one})
    cascade = replace(CASCADES["scope"], stages=(plain, *CASCADES["scope"].stages[1:]), items=ItemKind.FILES)
    (found,) = read_labelled(_write(tmp_path / "tasks.jsonl", COMMIT), cascade)
    assert [item.id for item in found.items] == ["b.py", "c.py"]
    assert found.labels == ("relevant", "irrelevant")


@pytest.mark.parametrize("kind", [ItemKind.FOLDERS, ItemKind.STAGES, ItemKind.PAIRS])
def test_a_commit_task_has_files_and_symbols_alone(tmp_path: Path, kind: ItemKind) -> None:
    """A cascade that asks about anything else needs items of its own, which the error says."""
    path = _write(tmp_path / "tasks.jsonl", COMMIT)
    with pytest.raises(InputError, match=rf"tasks.jsonl, line 1: a commit task .* asks about {kind}"):
        list(read_labelled(path, replace(CASCADES["precision"], items=kind)))


def test_labelled_items_are_read(tmp_path: Path) -> None:
    """A line of the items format is a task with items and labels."""
    row = {"task": "t", "seeds": ["a.py"], "items": [{"id": "1", "name": "f", "label": "primary"}]}
    (found,) = read_labelled(_write(tmp_path / "tasks.jsonl", row), CASCADES["precision"])
    assert (found.task.seeds, found.labels, found.items[0].name) == (("a.py",), ("primary",), "f")


def test_items_may_count_less(tmp_path: Path) -> None:
    """An item may say how much it counts in a training, from 0 to 1; where none does, all count fully."""
    items: list[dict[str, Any]] = [
        {"id": "1", "name": "f", "label": "primary", "weight": 0.25},
        {"id": "2", "name": "g", "label": "excluded"},
    ]
    (found,) = read_labelled(_write(tmp_path / "some.jsonl", {"task": "t", "items": items}), CASCADES["precision"])
    assert found.weights == (0.25, 1.0)
    (found,) = read_labelled(_write(tmp_path / "none.jsonl", {"task": "t", "items": items[1:]}), CASCADES["precision"])
    assert found.weights == ()
    items[0]["weight"] = 1.5
    with pytest.raises(InputError, match=r"line 1: field 'items\.0\.weight'"):
        list(read_labelled(_write(tmp_path / "bad.jsonl", {"task": "t", "items": items}), CASCADES["precision"]))


def test_labelled_items_get_the_evidence_that_a_cascade_makes(tmp_path: Path) -> None:
    """What is tuned and evaluated has the evidence with which it is asked; evidence that is given stays."""
    items = [
        {"id": "1", "name": "parser", "text": "fix", "label": "primary"},
        {"id": "2", "name": "b", "evidence": ["mine"], "label": "excluded"},
    ]
    path = _write(tmp_path / "tasks.jsonl", {"task": "fix the parser", "items": items})
    ((first, second),) = ([*found.items] for found in read_labelled(path, CASCADES["precision"]))
    assert (first.evidence, first.text, second.evidence) == ((), "fix", ("mine",))
    made = replace(CASCADES["precision"], makes_evidence=True)
    ((first, second),) = ([*found.items] for found in read_labelled(path, made))
    assert set(first.evidence) & set(FACTS)
    assert second.evidence == ("mine",)


def test_a_forced_format_and_an_unknown_label_are_refused_clearly(tmp_path: Path) -> None:
    """--format commits demands its fields; a label must be one of the cascade's."""
    row = {"task": "t", "items": [{"id": "1", "name": "f", "label": "vital"}]}
    path = _write(tmp_path / "tasks.jsonl", row)
    with pytest.raises(InputError, match=r"line 1: field 'repo'"):
        list(read_labelled(path, CASCADES["precision"], Format.COMMITS))
    with pytest.raises(InputError, match=r"'vital' is no label of cascade 'precision'; allowed are excluded, primary"):
        list(read_labelled(path, CASCADES["precision"]))
