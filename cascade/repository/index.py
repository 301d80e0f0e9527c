"""The index of a checkout: what its source files hold, read once for each version of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.evidence.entry import Entry
from cascade.repository.index_cache import IndexCache, file_key
from cascade.repository.languages import SUFFIXES, suffix_of
from cascade.repository.messages import Messages
from cascade.repository.outline import Outline
from cascade.repository.reasons import GENERATED, NO_READER
from cascade.repository.source import may_be_kept, read_definitions, read_outline, read_source, tell_problem

Progress = Callable[[int, int], None]

_BATCH = 200  # files held in memory, and kept in one transaction
_HEAD = 1_000  # bytes of a file that say that it is generated
_GENERATED = re.compile(
    rb"@generated\b|\bDO NOT (?:EDIT|MODIFY)\b|(?i:\bdo not (?:edit|modify)\b[^\n]{0,80}\bgenerated\b)"
    rb"|(?i:\b(?:file|code|module|source|class|header)\b[^\n]{0,40}\b(?:automatically |auto-?)generated\b)"
    rb"|(?i:\b(?:automatically |auto-?)?generated (?:by|from|with|using)\b[^\n]{0,120}\n?[^\n]{0,80}"
    rb"\b(?:do not|don't) (?:edit|modify|change)\b)"
)
_COMMENTS, _DOCSTRINGS = (b"#", b"//", b"/*", b"*", b"--", b"<!--", b";", b"%"), (b'"""', b"'''")
_GENERATED_NAME = re.compile(
    r"(?:_pb2(?:_grpc)?\.py|\.pb\.(?:go|cc|h)|_generated\.\w+|\.g\.(?:cs|kt)|\.designer\.cs)\Z", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index holds of one file.

    Attributes:
        outline: Its documentation, names and imports.
        entry: Its symbols and words.
    """

    outline: Outline
    entry: Entry

    def dump(self) -> bytes:
        """As bytes that ``load`` reads back under any path."""
        outline = self.outline.dump().encode("utf-8", "surrogatepass")
        return len(outline).to_bytes(4, "little") + outline + self.entry.dump()

    @classmethod
    def load(cls, data: bytes, path: str) -> Indexed:
        """From its bytes.

        Raises:
            ValueError: They are none that ``dump`` wrote.
        """
        size = int.from_bytes(data[:4], "little")
        outline = Outline.load(data[4 : 4 + size].decode("utf-8", "surrogatepass"))
        return cls(outline, Entry.load(data[4 + size :], path))


def read_index(
    root: Path,
    paths: Sequence[str],
    cache: IndexCache,
    messages: Messages,
    progress: Progress,
    *,
    kept: Collection[str] | None = (),
) -> dict[str, Indexed]:
    """What the files hold that can be read, from the cache where their contents were seen before.

    Args:
        root: The folder.
        paths: The files, from the root.
        cache: What was read before.
        messages: Told of files that cannot be read.
        progress: Called with the files read so far and their number.
        kept: Files that are read even if they are generated; None for all.
    """
    return dict(_read(root, paths, cache, messages, progress, kept))


def _read(
    root: Path,
    paths: Sequence[str],
    cache: IndexCache,
    messages: Messages,
    progress: Progress,
    kept: Collection[str] | None,
) -> Iterator[tuple[str, Indexed]]:
    for start in range(0, len(paths), _BATCH):
        batch = paths[start : start + _BATCH]
        sources = {path: source for path in batch if (source := read_source(root, path, messages)) is not None}
        keys = {path: file_key(suffix_of(path), source) for path, source in sources.items()}
        known = cache.files(keys.values())
        new: dict[bytes, bytes] = {}
        for done, path in enumerate(batch, start + 1):
            if path in sources and _is_left_out(path, sources[path], kept):
                messages.leave_out(GENERATED, path)
            elif path in sources:
                found = _known(path, keys[path], known, cache)
                if found is None:
                    found = index_file(path, sources[path])
                    if may_be_kept(found.outline):
                        new[keys[path]] = found.dump()
                if suffix_of(path) not in SUFFIXES:
                    messages.leave_out(NO_READER, path)
                tell_problem(path, found.outline, messages)
                yield path, found
            progress(done, len(paths))
        cache.keep_files(new)


def index_file(path: str, source: bytes) -> Indexed:
    """What a file holds. Pure."""
    return Indexed(
        read_outline(path, source), Entry.of(read_definitions(path, source), source.decode("utf-8", "replace"))
    )


def is_generated(path: str, source: bytes) -> bool:
    """Whether a program wrote a file, as its name or its first lines say. Pure."""
    head = source[:_HEAD]
    return bool(_GENERATED_NAME.search(path)) or any(_is_said(head, found) for found in _GENERATED.finditer(head))


def _is_said(head: bytes, found: re.Match[bytes]) -> bool:
    """Whether a comment says it, and not a string, as in a program that looks for such words."""
    before = head[head.rfind(b"\n", 0, found.start()) + 1 : found.start()].strip()
    return before.startswith((*_COMMENTS, *_DOCSTRINGS)) or not any(quote in before for quote in b"\"'`")


def _is_left_out(path: str, source: bytes, kept: Collection[str] | None) -> bool:
    return kept is not None and path not in kept and is_generated(path, source)


def _known(path: str, key: bytes, known: Mapping[bytes, bytes], cache: IndexCache) -> Indexed | None:
    if key not in known:
        return None
    try:
        return Indexed.load(known[key], path)
    except ValueError as error:
        cache.give_up(error)
        return None
