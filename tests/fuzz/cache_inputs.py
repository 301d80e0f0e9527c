"""Files that the library keeps for itself: tunings, the index of source files, and scores of labelled tasks."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade.backends.costs import Work
from cascade.backends.llama.open import context_size
from cascade.backends.llama.tuned_settings import TuningKey, load_tuning, tuning_path
from cascade.config.model import ModelConfig
from cascade.engine.cost_model import CostModel
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scoring import load_scores
from cascade.evidence.corpus import Corpus
from cascade.evidence.history import Change, Commit, History
from cascade.evidence.making import Evidence
from cascade.evidence.ties import Ties
from cascade.report import Origin
from cascade.repository.commits import dump_commits, kept_commits
from cascade.repository.imports import ImportGraph
from cascade.repository.index import Indexed, index_file
from cascade.repository.index_cache import INDEX_FILE, IndexCache, file_key
from cascade.repository.messages import Messages
from cascade.repository.tiers import rank_files
from cascade.tuning.check import Guarantee, check_guarantee
from cascade.tuning.shift import task_statistics
from tests.fuzz.answers import TASK
from tests.fuzz.damage import VALUES, damaged_bytes, damaged_tree
from tests.fuzz.target import Files, Target
from tests.helpers.ranker import simple_ranker
from tests.helpers.shipped import CASCADES

_KEY = TuningKey(model_sha256="ab" * 32, llama_cpp="0.3.36", processor="Tiny", n_cores=2, n_gpu_layers=0)
_TUNING: dict[str, Any] = {
    "version": 1,
    "key": asdict(_KEY),
    "tuning": {
        "flash_attention": False,
        "n_batch": 256,
        "n_threads": 2,
        "gain": 1.25,
        "full_pool": 1.5,
        "costs": {
            "per_token_ms": 0.1,
            "per_output_ms": 0.05,
            "per_call_ms": 2.0,
            "per_swap_ms": 1.0,
            "per_cell_ms": 0.0001,
        },
    },
}


@st.composite
def _tunings(draw: DrawFn) -> Files:
    data = json.dumps(draw(damaged_tree(_TUNING)), default=str).encode()
    name = tuning_path(_KEY, Path()).name
    return {name: draw(damaged_bytes(data, 2)) if draw(st.integers(0, 3)) == 0 else data}


def take_tuning(folder: Path) -> bool:
    """Load a tuning, open a context of its size in thought, and predict and learn by its costs."""
    (file,) = folder.iterdir()
    place = tuning_path(_KEY, folder)
    place.parent.mkdir()
    file.rename(place)
    tuning = load_tuning(_KEY, folder)
    if tuning is None:
        return False
    assert 32 <= context_size(ModelConfig(), tuning).n_batch <= 65_536
    model = CostModel(tuning.costs, slowdown=1.0)
    for n in (1, 20, 200):
        work = Work.of(tokens=n, cells=100, most=64, outputs=2, swaps=1)
        model.predict(work)
        model.learn(work, 1.0 + n)
    assert model.predict(Work.of(tokens=5, cells=0, most=64)) >= 0
    return True


_SOURCE = b"'''Docs.'''\nfrom .a import b\nX = 1\nclass Cache:\n    def parse(self, text): return b(text, 'words')\n"
_INDEXED = index_file("a.py", _SOURCE)
_KEYS = [file_key(".py", bytes([number])) for number in range(3)]
_HISTORY = dump_commits(
    "ab" * 20,
    [
        Commit((1, 2, 3), (Change("M", "a.py", "a.py"), Change("R", "b.py", "c.py"))),
        Commit(),
        Commit((4,), (Change("A", "parse0.py", "parse0.py"),)),
    ],
)
_SCHEMAS = (
    "CREATE TABLE {} (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, data BLOB NOT NULL)",
    "CREATE TABLE {} (id INTEGER PRIMARY KEY, key BLOB, data)",
    "CREATE TABLE {} (key BLOB, data)",
    "CREATE TABLE {} (id TEXT, key, data, more NOT NULL DEFAULT 1)",
    "CREATE VIEW {} AS SELECT 1 AS id, x'00' AS key, '[]' AS data",
    "CREATE TABLE other_{} (id)",
)


@st.composite
def _indexes(draw: DrawFn) -> Files:
    """A database with odd rows or another schema, damaged as bytes, or with a log beside it that is not its own."""
    with closing(sqlite3.connect(":memory:")) as database:
        for table, keys, row in (("files", _KEYS, _file_row), ("histories", ["/repo"], _history_row)):
            schema = draw(st.sampled_from(_SCHEMAS)) if draw(st.integers(0, 4)) == 0 else _SCHEMAS[0]
            database.execute(schema.format(table))
            if schema.startswith("CREATE TABLE {}"):
                for key in keys:
                    insert = f"INSERT OR IGNORE INTO {table} (key, data) VALUES (?, ?)"  # noqa: S608 - one of two names
                    database.execute(insert, (key, _row(draw, row)))
        database.commit()
        data = database.serialize()
    if draw(st.integers(0, 2)) == 0:
        data = draw(damaged_bytes(data))
    beside = draw(st.sampled_from(["", "", "", "-wal", "-shm", "-journal"]))
    return {INDEX_FILE: data} | ({f"{INDEX_FILE}{beside}": data[:200]} if beside else {})


def _row(draw: DrawFn, row: Callable[..., bytes]) -> str | bytes | float:
    """A row that was written, damaged on the way or later, or a value of any kind."""
    match draw(st.integers(0, 7)):
        case 0:
            value = VALUES[draw(st.integers(0, len(VALUES) - 1))]
            storable = isinstance(value, bool | float | bytes) or (isinstance(value, int) and abs(value) < 2**63)
            return value if storable else json.dumps(value, default=str)
        case 1:
            return draw(damaged_bytes(row(draw, is_damaged=True)))
        case 2 | 3:
            return row(draw, is_damaged=True)
    return row(draw, is_damaged=False)


def _file_row(draw: DrawFn, *, is_damaged: bool) -> bytes:
    """What is kept of a file: its outline, and its entry."""
    if not is_damaged:
        return _INDEXED.dump()
    outline = json.dumps(draw(damaged_tree(json.loads(_INDEXED.outline.dump()))), default=str).encode()
    return len(outline).to_bytes(4, "little") + outline + _repacked(draw, _INDEXED.entry.dump())


def _history_row(draw: DrawFn, *, is_damaged: bool) -> bytes:
    return _repacked(draw, _HISTORY) if is_damaged else _HISTORY


def _repacked(draw: DrawFn, data: bytes) -> bytes:
    """Packed bytes with a head or arrays that somebody else might have packed."""
    plain = zlib.decompress(data)
    size = int.from_bytes(plain[:4], "little")
    head, arrays = json.loads(plain[4 : 4 + size]), plain[4 + size :]
    if draw(st.booleans()):
        head = draw(damaged_tree(head))
    if draw(st.integers(0, 2)) == 0:
        arrays = draw(damaged_bytes(arrays))
    text = json.dumps(head, default=str).encode()
    return zlib.compress(len(text).to_bytes(4, "little") + text + arrays, 1)


def take_index(folder: Path) -> bool:
    """Read files and a history, make items of them, and keep them again."""
    messages = Messages()
    cache = IndexCache(folder, messages, busy_s=0.1)
    found = cache.files(_KEYS)
    indexed = {}
    for place, data in enumerate(found.values()):
        with suppress(ValueError):
            indexed[f"parse{place}.py"] = Indexed.load(data, f"parse{place}.py")
    kept = kept_commits("/repo", cache)
    history = History.of(kept[1], indexed.keys()) if kept else None
    outlines = {path: one.outline for path, one in indexed.items()}
    graph = ImportGraph(sorted(outlines), outlines)
    imported = frozenset[str]().union(*(graph.targets(path) for path in outlines))
    together = history.together({"parse0.py"}).counts if history else {}
    corpus = Corpus(tuple(indexed), tuple(one.entry for one in indexed.values()), history)
    evidence = Evidence.of(corpus, TASK.text, Ties(imported=imported, together=together), simple_ranker())
    records = rank_files(corpus.paths, evidence.signals.files, evidence.signals.ties, outlines)
    for item in (*evidence.symbol_items(evidence.best_symbols(50)), *evidence.file_items([], {})):
        assert all(isinstance(text, str) for text in (item.name, item.signature, item.doc, *item.evidence))
    assert all(isinstance(text, str) for record in records for text in (record.doc, *record.symbols))
    cache.keep_files(dict.fromkeys(_KEYS, _INDEXED.dump()))
    cache.keep_history("/repo", b"")
    return bool(indexed)


_CASCADE = CASCADES["precision"]
_ORIGIN = Origin(model="ab" * 32, adapters={"relevant": "cd" * 32}, data="ef" * 32, questions="01" * 32)
_SCORE_KEYS = [[stage.name, tier] for stage in _CASCADE.stages for tier in stage.questions]
_HEAD: dict[str, Any] = {
    "origin": asdict(_ORIGIN),
    "keys": _SCORE_KEYS,
    "n_tasks": 3,
    "features": ["kind:class", "near"],
}
_ROWS = 8
_ARRAYS: Mapping[str, Any] = {
    "tasks": np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int64),
    "labels": np.array([0, 1, 2, 0, 3, 0, 0, 1], np.int64),
    "scores": np.linspace(0, 1, _ROWS * len(_SCORE_KEYS)).reshape(-1, _ROWS),
    "slice_kind": np.array(["class", "function"] * 4, np.str_),
    "slice_repository": np.array(["a"] * _ROWS, np.str_),
    "priors": np.array([0.5, np.nan] * 4),
    "counts": np.ones((_ROWS, 2), np.uint8),
}
_HUGE = (
    b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }" + b" " * 40 + b"\n"
)


@st.composite
def _scores(draw: DrawFn) -> Files:
    """A zip of arrays, some of them missing, of another type or shape, or with numbers out of range."""
    head = draw(damaged_tree(_HEAD, 2)) if draw(st.integers(0, 2)) else _HEAD
    arrays = {"head": np.array(json.dumps(head, default=str)), **_ARRAYS}
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(arrays)))
        if (changed := _changed(draw, arrays[name])) is None:
            del arrays[name]
        else:
            arrays[name] = changed
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=True)
            contents = member.getvalue()
            match draw(st.integers(0, 30)):
                case 0:
                    contents = draw(damaged_bytes(contents))
                case 1:
                    contents = _HUGE
            archive.writestr(f"{name}.npy", contents)
    data = packed.getvalue()
    return {"scores.npz": draw(damaged_bytes(data)) if draw(st.integers(0, 4)) == 0 else data}


def _changed(draw: DrawFn, array: Any) -> Any:  # noqa: PLR0911 - one way a line
    match draw(st.integers(0, 9)):
        case 0:
            return None
        case 1:
            return array[..., :-1] if array.ndim else array.reshape(1)
        case 2:
            return array.reshape(-1, 1) if array.ndim else array
        case 3:
            return array.astype(object)
        case 4 if array.dtype.kind in "iuf":
            with np.errstate(invalid="ignore"):
                return array.astype(draw(st.sampled_from(["f4", "i1", "u8", "c16", "U8", "S3", "?", "M8[s]"])))
        case 5 if array.dtype.kind in "if" and array.ndim and array.size:
            array = array.copy()
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([-1, 2, 9, 10**6, 2**62]))
            return array
        case 6 if array.dtype.kind == "f":
            return np.full_like(array, draw(st.sampled_from([np.nan, np.inf, -1.0, 2.0])))
        case 7:
            return array.T if array.ndim > 1 else np.concatenate((array, array)) if array.ndim else array
        case 8:
            return np.empty((0, *array.shape[1:]), array.dtype)
    return np.asfortranarray(array)


def take_scores(folder: Path) -> bool:
    """Load scores of the tasks at hand, and make of them what commands make."""
    scored = load_scores(folder / "scores.npz", _ORIGIN)
    if scored is None or not scored.fits(_CASCADE):
        return False
    scored.take(np.arange(scored.n_tasks))
    task_statistics(_CASCADE, scored)
    Replay(_CASCADE, scored).outcome(own_thresholds(_CASCADE))
    check_guarantee(_CASCADE, scored, Guarantee(level=0.5), 0.1)
    if scored.features is not None:
        scored.features.common(scored.tasks)
    return True


TARGETS = (
    Target(name="tuning", share=4, files=_tunings(), take=take_tuning),
    Target(name="index", share=4, files=_indexes(), take=take_index),
    Target(name="scores", share=5, files=_scores(), take=take_scores),
)
