"""Text from outside: what is read as text, and how a file that cannot be read is named."""

from __future__ import annotations

import gzip
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.files import (
    MAX_BYTES,
    STDIN,
    check_readable,
    is_file,
    is_folder,
    parts_of,
    read_lines,
    read_text,
    whole_file,
)
from tests.helpers.rights import without_rights

REMEDY = "Do better."
TEXT = "größe\nzwei\n\nvier"
NUMBERED = [(1, "größe\n"), (2, "zwei\n"), (3, "\n"), (4, "vier")]
PACKED = gzip.compress(b"".join(b"line %d of many\n" % n for n in range(2_000)))
LONG = "x" * 300
"""A name that no file can have."""


def _lines(path: Path) -> list[tuple[int, str]]:
    return list(read_lines(path, REMEDY))


@pytest.fixture
def stdin(tmp_path: Path) -> Iterator[Path]:
    """A file that is stdin for the time of a test."""
    path = tmp_path / "stdin"
    path.write_bytes(TEXT.encode())
    before = os.dup(0)
    given = os.open(path, os.O_RDONLY)
    os.dup2(given, 0)
    os.close(given)
    yield path
    os.dup2(before, 0)
    os.close(before)


def _fed(path: Path, *parts: bytes) -> threading.Thread:
    """A pipe with a writer that writes part by part."""
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb", buffering=0) as pipe:
            for part in parts:
                pipe.write(part)

    writer = threading.Thread(target=feed)
    writer.start()
    return writer


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["text", "text.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_is_read_as_it_is(tmp_path: Path, mark: bytes, name: str, pack: type[bytes]) -> None:
    """Neither a byte order mark nor gzip makes a difference, whatever the file is called."""
    path = tmp_path / name
    path.write_bytes(pack(mark + TEXT.encode()))
    assert read_text(path, REMEDY) == TEXT
    assert _lines(path) == NUMBERED


def test_archives_may_have_several_members(tmp_path: Path) -> None:
    """Files that were packed one by one and joined are one text."""
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(b"one\n") + gzip.compress(b"two\n"))
    assert _lines(path) == [(1, "one\n"), (2, "two\n")]


@pytest.mark.parametrize("parts", [[TEXT.encode()], [bytes([byte]) for byte in gzip.compress(TEXT.encode())]])
def test_pipes_are_read_like_files(tmp_path: Path, parts: Sequence[bytes]) -> None:
    """A pipe is read once, from its first byte on, however slowly it comes."""
    path = tmp_path / "pipe"
    writer = _fed(path, *parts)
    check_readable([path])
    assert _lines(path) == NUMBERED
    writer.join()


def test_a_dash_is_stdin(stdin: Path) -> None:
    """What stands on stdin is read, and stdin stays open."""
    assert stdin.is_file()
    check_readable([STDIN, None])
    assert _lines(STDIN) == NUMBERED
    assert stat.S_ISREG(os.fstat(0).st_mode)


@pytest.mark.slow
@pytest.mark.parametrize("other", [STDIN, Path("/dev/stdin")])
def test_what_can_be_read_once_is_not_named_twice(tmp_path: Path, other: Path) -> None:
    """Stdin or a pipe that is named twice, by whatever names, is refused; a file may be."""
    file = tmp_path / "file"
    file.touch()
    check_readable([file, file])
    code = (
        "from cascade.files import *; from pathlib import Path\n"
        f"try: check_readable([STDIN, None, Path({str(other)!r})])\nexcept Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, check=True)
    assert re.match(
        rf"{'stdin' if other == STDIN else other}: is named twice, and can be read once", done.stdout.decode()
    )


def test_a_closed_stdin_is_refused() -> None:
    """Where there is no stdin, no other file is taken for it."""
    code = "from cascade.files import *; check_readable([STDIN])"
    done = subprocess.run(f"{sys.executable} -c '{code}' <&-", shell=True, capture_output=True, check=False)  # noqa: S602 - a shell closes it
    assert b"InputError: stdin: cannot be read (it is closed)" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PACKED[:200], "is damaged, gzip cannot unpack it"),
        (PACKED[:60] + b"\xff" * 50 + PACKED[110:], "is damaged, gzip cannot unpack it"),
        (PACKED[:-8] + b"\0" * 8, "is damaged, gzip cannot unpack it"),
        (PACKED + b"more", "is damaged, gzip cannot unpack it"),
        (b"\x1f\x8b", "is damaged, gzip cannot unpack it"),
        (b"fine\nfine\nnot \xff fine", "line 3: is not UTF-8 (byte 0xff)"),
        ("größe".encode("utf-16"), "line 1: is not UTF-8 (it is UTF-16 or UTF-32)"),
        ("größe".encode("utf-32"), "line 1: is not UTF-8 (it is UTF-16 or UTF-32)"),
        (b"fine\nnot \0 fine", "line 2: has a zero byte"),
        (gzip.compress(b"\xc3"), "line 1: is not UTF-8 (byte 0xc3)"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    """The message has the file, the line where there is one, and what is wrong."""
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_text(path, REMEDY)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(InputError, match=re.escape(words)):
        _lines(path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "Is a directory"),
        ("absent", "No such file"),
        ("file/below", "Not a directory"),
        ("loop", "symbolic links"),
        (LONG, "too long"),
        ("zero\0byte", "null byte"),
    ],
)
def test_what_is_no_file_is_named(tmp_path: Path, name: str, words: str) -> None:
    """A folder, a missing file or an impossible name is refused, before and when it is read."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name
    with pytest.raises(InputError, match=words):
        check_readable([path])
    with pytest.raises(InputError, match=rf"{words}.*{REMEDY}"):
        read_text(path, REMEDY)
    with pytest.raises(InputError, match=rf"{words}.*{REMEDY}"):
        _lines(path)
    assert not is_file(path)
    assert is_folder(path) is (name == "")


def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    """A file that may not be read, or lies in a folder that may not be entered, is refused."""
    (tmp_path / "closed").mkdir()
    for path in (tmp_path / "file", tmp_path / "closed" / "file"):
        path.touch()
        path.chmod(0)
    (tmp_path / "closed").chmod(0)
    code = (
        "import sys; from pathlib import Path; from cascade.files import *\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try: check_readable([path])\n"
        "    except Exception as error: print(is_file(path), is_folder(path), error)"
    )
    paths = [str(tmp_path / "file"), str(tmp_path / "closed" / "file")]
    done = subprocess.run(without_rights(sys.executable, "-c", code, *paths), capture_output=True, check=True)
    (tmp_path / "closed").chmod(0o700)
    shown = done.stdout.decode().splitlines()
    assert [line.partition(": ")[0] for line in shown] == [f"True False {paths[0]}", f"False False {paths[1]}"]
    assert all("cannot be read (Permission denied)" in line for line in shown)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="there is no endless device")
def test_what_never_ends_is_refused() -> None:
    """A device without end takes no more memory than the longest line."""
    for read in (_lines, lambda path: read_text(path, REMEDY)):
        with pytest.raises(InputError, match=f"has more than {MAX_BYTES // 2**20} MiB"):
            read(Path("/dev/zero"))


def test_what_is_half_written_is_found(tmp_path: Path) -> None:
    """A new file that has not taken its place is found by the name of that place, whatever that has in it."""
    odd, other = tmp_path / f"a[b]*{'x' * 120}", tmp_path / "ab"
    with whole_file(odd) as part, whole_file(other) as beside:
        assert parts_of(odd) == [part]
        assert parts_of(other) == [beside]
    assert parts_of(odd) == parts_of(tmp_path / "missing" / "file") == []
