"""The cache: what was read of files comes back by content, and nothing about it can stop the work."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cascade.machine import user_cache
from cascade.repository.find import Candidates, find_candidates
from cascade.repository.index import Indexed, index_file
from cascade.repository.index_cache import IndexCache, file_key
from cascade.repository.messages import Messages
from tests.helpers.checkout import Checkout
from tests.helpers.ranker import simple_ranker

SOURCE = """'Größe \\ud800.'
from .a import b as c
X = 1
def f(text):
    'Docs.'
    return c("words")
"""
KEY = file_key(".py", b"x = 1")
TEXT = "widget"


def find(checkout: Checkout, cache: Path | None, *seeds: str) -> Candidates:
    """Candidates with a cache."""
    return find_candidates(checkout.root, TEXT, seeds or ["seed.py"], cache=cache, ranker=simple_ranker())


def shown(result: Candidates) -> tuple[object, ...]:
    """All that comes of a search."""
    return result.task, result.symbol_items(), result.file_items(), result.files, result.reading()


def database_of(cache: Path) -> Path:
    """The file of a cache."""
    (file,) = cache.glob("*.sqlite3")
    return file


def change(cache: Path, statement: str, *values: object) -> None:
    """Does to the file of a cache what another program may do."""
    with closing(sqlite3.connect(database_of(cache))) as database, database:
        database.execute(statement, values)


@pytest.fixture
def project(checkout: Checkout) -> Checkout:
    """Three files that one commit brought, one of them broken."""
    return checkout.init().commit({"seed.py": "import widget", "widget.py": "def f(): ...", "broken.py": "("})


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    """What is kept is loaded equal, under any path; an unknown key is missing, and the first of two stays."""
    indexed = index_file("a.py", SOURCE.encode())
    cache = IndexCache(tmp_path, Messages())
    cache.keep_files({KEY: indexed.dump()})
    cache.keep_files({KEY: b"other"})
    found = IndexCache(tmp_path, Messages()).files([KEY, b"other"])
    assert set(found) == {KEY}
    again = Indexed.load(found[KEY], "b/c.py")
    assert again.dump() == indexed.dump()
    assert again.outline == indexed.outline
    assert [symbol.id for symbol in again.entry.symbols] == ["b/c.py::f"]


def test_histories_come_back_and_are_replaced(tmp_path: Path) -> None:
    """The last that was kept of a repository counts; an unknown one has none; a hundred are kept."""
    cache = IndexCache(tmp_path, Messages())
    assert cache.history("a") is None
    cache.keep_history("b", b"0")
    for number in range(150):
        cache.keep_history("a", b"%d" % number)
    assert (cache.history("a"), cache.history("b"), cache.history("c")) == (b"149", b"0", None)
    for number in range(100):
        cache.keep_history(str(number), b"")
    assert (cache.history("a"), cache.history("b"), cache.history("0")) == (None, None, b"")


def test_key_depends_on_contents_and_language() -> None:
    """The same bytes are read differently under another suffix."""
    assert len({KEY, file_key(".py", b"x = 2"), file_key(".js", b"x = 1")}) == 3


def test_second_run_is_the_same(project: Checkout, tmp_path: Path) -> None:
    """Items, records and messages do not depend on the cache."""
    first = find(project, tmp_path / "cache")
    assert shown(find(project, tmp_path / "cache")) == shown(first) == shown(find(project, None))
    assert any("broken.py" in message for message in first.messages)


def test_what_is_cached_is_used(project: Checkout, tmp_path: Path) -> None:
    """A file whose contents are known is not read again, and a changed one is."""
    cache = tmp_path / "cache"
    find(project, cache)
    other = index_file("other.py", b"'From the cache.'\ndef from_the_cache(): ...\n")
    change(cache, "UPDATE files SET data = ?", other.dump())
    found = find(project, cache)
    assert {record.doc for record in found.files} == {"From the cache."}
    assert {symbol.name for symbol in found.symbols} == {"from_the_cache"}
    project.write({"widget.py": "'Changed.'\ndef changed(): ...\n"})
    found = find(project, cache)
    assert {record.doc for record in found.files} == {"Changed.", "From the cache."}
    assert {symbol.id for symbol in found.symbols} == {
        "seed.py::from_the_cache", "broken.py::from_the_cache", "widget.py::changed",
    }  # fmt: skip


def test_checkouts_share_what_was_read(project: Checkout, tmp_path: Path) -> None:
    """A file of the same contents under another path, in another checkout, is not kept twice."""
    cache = tmp_path / "cache"
    find(project, cache)
    project.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "other"))
    Checkout(tmp_path / "other").write({"again.py": "def f(): ..."})
    assert "again.py::f" in {symbol.id for symbol in find(Checkout(tmp_path / "other"), cache).symbols}
    with closing(sqlite3.connect(database_of(cache))) as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM histories").fetchone() == (2,)


@pytest.mark.parametrize("damage", [b"this is no database, not at all" * 100, b""])
def test_a_damaged_cache_is_made_anew(project: Checkout, tmp_path: Path, damage: bytes) -> None:
    """A file that is no database costs a message, once; an empty one is filled."""
    cache = tmp_path / "cache"
    find(project, cache)
    database_of(cache).write_bytes(damage)
    result = find(project, cache)
    assert shown(result)[:4] == shown(find(project, None))[:4]
    assert any("Without the cache" in message for message in result.messages) is bool(damage)
    assert not any("Without the cache" in message for message in find(project, cache).messages)


def foreign_rows() -> list[object]:
    """Rows that no reader of this program wrote."""
    good = index_file("a.py", SOURCE.encode())
    whole, outline = good.dump(), good.outline.dump().encode()

    def with_outline(text: bytes) -> bytes:
        return len(text).to_bytes(4, "little") + text + good.entry.dump()

    return [
        b"", b"\xff", 7, None, "text", 0.5, b"[1, 2]", whole[:-1], whole + b"x", whole[:50], outline,
        with_outline(b"[1, 2]"), with_outline(b"[" * 100_000), with_outline(b'["", "tops", [], [], ""]'),
        with_outline(b'["", [], [], [["m", "0", "", ""]], ""]'), with_outline(b"\xff\xfe\xfa"),
    ]  # fmt: skip


@pytest.mark.parametrize("row", foreign_rows())
def test_foreign_rows_are_not_read(project: Checkout, tmp_path: Path, row: object) -> None:
    """A row that cannot be read back ends the use of the cache, with one message."""
    cache = tmp_path / "cache"
    find(project, cache)
    if row is None:
        change(cache, "ALTER TABLE files RENAME TO old")
        change(cache, "CREATE TABLE files (id INTEGER PRIMARY KEY, key BLOB UNIQUE, data)")
        change(cache, "INSERT INTO files SELECT id, key, NULL FROM old")
    else:
        change(cache, "UPDATE files SET data = ?", row)
    result = find(project, cache)
    assert [record.path for record in result.files] == ["widget.py", "broken.py"]
    assert sum("Without the cache" in message for message in result.messages) == 1


@pytest.mark.parametrize("row", [b"", b"\xff", 7, "text", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_foreign_history_is_read_anew(project: Checkout, tmp_path: Path, row: object) -> None:
    """It ends the use of the cache; the history itself is found by git."""
    cache = tmp_path / "cache"
    find(project, cache)
    change(cache, "UPDATE histories SET data = ?", row)
    result = find(project, cache)
    assert result.files == find(project, None).files
    assert sum("Without the cache" in message for message in result.messages) == 1


def test_cache_that_cannot_be_written(project: Checkout, tmp_path: Path) -> None:
    """A cache folder that cannot be made costs a message."""
    (tmp_path / "file").write_text("in the way")
    result = find(project, tmp_path / "file" / "cache")
    assert result.files
    assert sum("Without the cache" in message for message in result.messages) == 1


def test_a_file_of_another_version_costs_a_message(project: Checkout, tmp_path: Path) -> None:
    """A database whose table has other columns is left as it is."""
    cache = tmp_path / "cache"
    find(project, cache)
    change(cache, "DROP TABLE files")
    change(cache, "CREATE TABLE files (id INTEGER PRIMARY KEY, newer TEXT)")
    change(cache, "INSERT INTO files (newer) VALUES ('kept')")
    result = find(project, cache)
    assert result.files
    assert sum("Without the cache" in message for message in result.messages) == 1
    with closing(sqlite3.connect(database_of(cache))) as database:
        assert database.execute("SELECT newer FROM files").fetchall() == [("kept",)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "lack",
    [
        pytest.param("resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))", id="full disk"),
        pytest.param("sys.modules['sqlite3'] = None", id="python without sqlite"),
    ],
)
def test_a_cache_that_cannot_be_written_costs_a_message(project: Checkout, tmp_path: Path, lack: str) -> None:
    """Where no more can be written, or Python has no sqlite3, candidates are found as without a cache."""
    code = (
        f"import resource, sys; from pathlib import Path; {lack}\n"
        "from cascade.repository.find import find_candidates\n"
        "from tests.helpers.ranker import simple_ranker\n"
        "root, cache = map(Path, sys.argv[1:])\n"
        "found = find_candidates(root, 'widget', ['seed.py'], cache=cache, ranker=simple_ranker())\n"
        "print(len(found.files), *found.messages, sep='\\n')"
    )
    command = [sys.executable, "-B", "-c", code, str(project.root), str(tmp_path / "cache")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "2"
    assert sum("Without the cache" in line for line in shown) == 1


def test_two_writers_share_the_file(tmp_path: Path) -> None:
    """A writer does not disturb one that has the file open."""
    one, two = IndexCache(tmp_path, Messages()), IndexCache(tmp_path, Messages())
    one.keep_files({b"1": b"one"})
    two.keep_files({b"2": b"two"})
    assert one.files([b"1", b"2"]) == {b"1": b"one", b"2": b"two"}


def test_locked_cache_costs_a_message(tmp_path: Path) -> None:
    """A writer that never lets go is not waited for without end."""
    messages = Messages()
    IndexCache(tmp_path, messages).keep_files({b"1": b"one"})
    with closing(sqlite3.connect(database_of(tmp_path), isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        IndexCache(tmp_path, messages, busy_s=0.05).keep_files({b"2": b"two"})
    assert "locked" in messages.lines()[0]


def test_place_of_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache folder is XDG's where that is absolute, else ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "binary-cascade"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert user_cache() == tmp_path / "home/.cache/binary-cascade"


def test_progress_is_told(project: Checkout) -> None:
    """Every file read is counted up to their number."""
    calls: list[tuple[int, int]] = []
    find_candidates(project.root, "x", cache=None, progress=lambda *told: calls.append(told), ranker=simple_ranker())
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_checkout_whose_path_is_not_utf8_keeps_its_history(tmp_path: Path) -> None:
    """Its path is written as the key of its history, and the cache of all others stays."""
    cache = tmp_path / "cache"
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/base\xff"))
    checkout = Checkout(folder).init().commit({"seed.py": "import widget", "widget.py": "def f(): ..."})
    first = find(checkout, cache)
    assert not any("cache" in message for message in first.messages)
    with closing(sqlite3.connect(database_of(cache))) as database:
        ((key,),) = database.execute("SELECT key FROM histories")
    assert key.endswith("/base\\xff")
    assert shown(find(checkout, cache)) == shown(first)


def test_what_cannot_be_written_is_no_damage(tmp_path: Path) -> None:
    """The file stays as it was, since nothing is wrong with it."""
    messages = Messages()
    IndexCache(tmp_path, messages).keep_files({KEY: b"kept"})
    IndexCache(tmp_path, messages).keep_history("\udcff", b"")
    assert IndexCache(tmp_path, messages).files([KEY]) == {KEY: b"kept"}
    assert not any("damaged" in line for line in messages.lines())
