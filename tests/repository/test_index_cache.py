"""The cache: outlines come back by content, and nothing about it can stop the work."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.machine import user_cache
from cascade.repository.find import Candidates, find_candidates
from cascade.repository.messages import Messages
from cascade.repository.outline import Import, Outline
from cascade.repository.outline_cache import OutlineCache, outline_key
from tests.helpers.checkout import Checkout

OUTLINE = Outline(
    doc="größe \ud800", tops=("f",), names=frozenset({"B", "A"}), imports=(Import(module="a.b", level=1, name="c"),)
)
KEY = outline_key(".py", b"x = 1")


def find(checkout: Checkout, cache: Path) -> Candidates:
    """Candidates with a cache."""
    return find_candidates(checkout.root, "widget", ["seed.py"], cache=cache)


@pytest.fixture
def project(checkout: Checkout) -> Checkout:
    """Three files that one commit brought, one of them broken."""
    return checkout.init().commit({"seed.py": "import widget", "widget.py": "def f(): ...", "broken.py": "("})


def test_outlines_come_back_as_they_were(tmp_path: Path) -> None:
    """What is kept is loaded equal; an unknown key is missing."""
    cache = OutlineCache(tmp_path, Messages())
    cache.keep({KEY: OUTLINE})
    cache.keep({KEY: Outline()})  # the first one stays
    assert OutlineCache(tmp_path, Messages()).load([KEY, b"other"]) == {KEY: OUTLINE}


def test_key_depends_on_contents_and_language() -> None:
    """The same bytes are read differently under another suffix."""
    assert len({KEY, outline_key(".py", b"x = 2"), outline_key(".js", b"x = 1")}) == 3


def test_second_run_is_the_same(project: Checkout, tmp_path: Path) -> None:
    """Records and messages do not depend on the cache."""
    first = find(project, tmp_path / "cache")
    assert (
        find(project, tmp_path / "cache") == first == find_candidates(project.root, "widget", ["seed.py"], cache=None)
    )
    assert any("broken.py" in message for message in first.messages)


def test_cached_outline_is_used(project: Checkout, tmp_path: Path) -> None:
    """A file whose contents are known is not read again."""
    cache = tmp_path / "cache"
    find(project, cache)
    with sqlite3.connect(cache / "outlines.sqlite3") as database:
        database.execute("UPDATE outlines SET outline = ?", (Outline(doc="From the cache.").dump(),))
    database.close()
    assert {record.doc for record in find(project, cache).files} == {"From the cache."}
    project.write({"widget.py": "'Changed.'"})
    assert {record.doc for record in find(project, cache).files} == {"Changed.", "From the cache."}


@pytest.mark.parametrize("damage", [b"this is no database, not at all" * 100, b""])
def test_damaged_cache_is_left_alone(project: Checkout, tmp_path: Path, damage: bytes) -> None:
    """A file that is no database costs a message; an empty one is filled."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "outlines.sqlite3").write_bytes(damage)
    result = find(project, cache)
    assert result.files
    assert any("Without the cache" in message for message in result.messages) is bool(damage)


@pytest.mark.parametrize(
    "row",
    [
        "[1, 2]",
        "[" * 100_000,
        '["", "tops", [], [], ""]',
        '["", [1], [], [], ""]',
        '[1, [], [], [], ""]',
        '["", [], [], [["m", "0", "", ""]], ""]',
        '["", [], [], [["m"]], ""]',
        b"\xff",
        7,
    ],
)
def test_foreign_rows_are_no_outlines(project: Checkout, tmp_path: Path, row: object) -> None:
    """A row that cannot be read back ends the use of the cache."""
    cache = tmp_path / "cache"
    find(project, cache)
    with sqlite3.connect(cache / "outlines.sqlite3") as database:
        database.execute("UPDATE outlines SET outline = ?", (row,))
    database.close()
    result = find(project, cache)
    assert [record.path for record in result.files] == ["widget.py", "broken.py"]
    assert any("Without the cache" in message for message in result.messages)


def test_cache_that_cannot_be_written(project: Checkout, tmp_path: Path) -> None:
    """A cache folder that cannot be made costs a message."""
    (tmp_path / "file").write_text("in the way")
    result = find(project, tmp_path / "file" / "cache")
    assert result.files
    assert sum("Without the cache" in message for message in result.messages) == 1


def test_a_file_of_another_version_costs_a_message(project: Checkout, tmp_path: Path) -> None:
    """A database whose table has other columns is left as it is."""
    cache = tmp_path / "cache"
    cache.mkdir()
    with sqlite3.connect(cache / "outlines.sqlite3") as database:
        database.execute("CREATE TABLE outlines (id INTEGER PRIMARY KEY, newer TEXT)")
        database.execute("INSERT INTO outlines (newer) VALUES ('kept')")
    database.close()
    result = find(project, cache)
    assert result.files
    assert sum("Without the cache" in message for message in result.messages) == 1
    with sqlite3.connect(cache / "outlines.sqlite3") as database:
        assert database.execute("SELECT newer FROM outlines").fetchall() == [("kept",)]
    database.close()


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
        "found = find_candidates(Path(sys.argv[1]), 'widget', ['seed.py'], cache=Path(sys.argv[2]))\n"
        "print(len(found.files), *found.messages, sep='\\n')"
    )
    command = [sys.executable, "-B", "-c", code, str(project.root), str(tmp_path / "cache")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown[0] == "2"
    assert sum("Without the cache" in line for line in shown) == 1


def test_two_writers_share_the_file(tmp_path: Path) -> None:
    """A writer does not disturb one that has the file open."""
    one, two = OutlineCache(tmp_path, Messages()), OutlineCache(tmp_path, Messages())
    one.keep({b"1": OUTLINE})
    two.keep({b"2": OUTLINE})
    assert set(one.load([b"1", b"2"])) == {b"1", b"2"}


def test_locked_cache_costs_a_message(tmp_path: Path) -> None:
    """A writer that never lets go is not waited for without end."""
    messages = Messages()
    OutlineCache(tmp_path, messages).keep({b"1": OUTLINE})
    holder = sqlite3.connect(tmp_path / "outlines.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    OutlineCache(tmp_path, messages, busy_s=0.05).keep({b"2": OUTLINE})
    holder.close()
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
    find_candidates(project.root, "x", cache=None, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
