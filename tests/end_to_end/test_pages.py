"""Every page tells the truth: what it links to is there, its commands parse, and its code is code."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from benchmarks.speed.cli import app as speed
from cascade.cli.program import app
from tests.helpers.pages import FENCE, PAGES, ROOT, blocks, text_of

ATTRIBUTES = {"cascade.tokens_decoded", "cascade.items", "cascade.questions.asked", "cascade.questions.stages"}
"""Attributes of spans that are no names of modules."""

FOREIGN = {"--lora", "--merge", "--no-cache-dir", "--init", "--recursive", "--stage", "--head"}
"""Options of llama-server, llama-gguf-split, pip, git and ray."""

pages = pytest.mark.parametrize("page", PAGES, ids=str)


def _spans(page: Path) -> list[str]:
    """What stands between backquotes in running text, each in one line."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text_of(page)))]


def _whole_commands(page: Path) -> Iterator[list[str]]:
    """The commands of shell blocks, word by word, as a shell would start them."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
            words.whitespace_split = True
            yield from _started(list(words))


def _started(words: Sequence[str]) -> Iterator[list[str]]:
    """The commands of a line."""
    found: list[str] = []
    for word in (*words, ";"):
        if set(word) <= set("|&;>"):
            if found:
                yield found
            found = [word] if word == ">" else []
        elif found or not re.match(r"[A-Z_]+=", word):
            found.append(word)


def _commands(page: Path) -> Iterator[list[str]]:
    """All commands, those of shell blocks and those that running text and tables name in part."""
    yield from _whole_commands(page)
    for span in _spans(page):
        with_quotes = span if span.count('"') % 2 == 0 and span.count("'") % 2 == 0 else ""
        yield from _started(shlex.split(with_quotes))
    for head, rows in re.findall(
        r"^\| `([a-z][^`|]*) \.\.\.`.*\n\|[-:| ]+\|\n((?:\|.*\n)*)", text_of(page), re.MULTILINE
    ):
        for more in re.findall(r"^\| `(--[^`|]*)`", rows, re.MULTILINE):
            yield shlex.split(f"{head} {more}")


def _options(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}


SPEED = ["python", "-m", "benchmarks.speed"]


def _is_parsed(words: Sequence[str]) -> bool:
    """Whether a call is one of ``cascade`` or of the benchmark of speed."""
    return words[0] == "cascade" or words[:3] == SPEED


def _parser(words: Sequence[str]) -> tuple[Any, list[str]]:
    """What parses a call of ``cascade`` or of the benchmark of speed, and the words that are left to it."""
    if words[:3] == SPEED:
        return get_command(speed), [word for word in words[3:] if word != "..."]
    command, rest = get_command(app), [word for word in words[1:] if word != "..."]
    while rest and (known := getattr(command, "commands", {})):
        if rest[0].startswith("-"):
            break
        assert rest[0] in known, f"`{' '.join(words)}`: there is no command {rest[0]!r}"
        command, rest = known[rest[0]], rest[1:]
    return command, rest


def _known(command: Any) -> set[str]:
    """The options of a command, ``--help`` among them."""
    return {
        "--help",
        *(name for entry in getattr(command, "params", ()) for name in (*entry.opts, *entry.secondary_opts)),
    }


@cache
def _all_options() -> set[str]:
    """The options of all commands."""
    found, groups = set[str](), [get_command(app)]
    while groups:
        group = groups.pop()
        found |= _known(group)
        groups += getattr(group, "commands", {}).values()
    return found


def _module(name: str) -> str:
    """The source of a module of this checkout, with what its package's modules say; empty for one that is installed."""
    folder = ROOT.joinpath(*name.split("."))
    file = folder.with_suffix(".py")
    assert file.is_file() or (folder / "__main__.py").is_file() or find_spec(name), f"there is no module {name}"
    if not file.is_file() and not folder.is_dir():
        return ""
    sources = [file] if file.is_file() and file.parent.name == "benchmarks" else folder.parent.rglob("*.py")
    return "\n".join(source.read_text(encoding="utf-8") for source in sources)


@pages
def test_links_lead_somewhere(page: Path) -> None:
    """The file that a link names is there, and so is the heading."""
    for name, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", FENCE.sub("", text_of(page))):
        if name.startswith(("http:", "https:")):
            continue
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page} links to {name}"
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{page} links to {name}#{heading}"


def _files(parts: list[str]) -> tuple[Path, Path]:
    """Where a module of that name would be, and a package."""
    return ROOT.joinpath(*parts).with_suffix(".py"), ROOT.joinpath(*parts, "__init__.py")


@pages
def test_files_and_modules_that_are_named_are_there(page: Path) -> None:
    """A path that begins in this checkout ends in it; a dotted name is that of a module, of its own, or a GGUF key."""
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "cascade").rglob("*.py"))
    keys = set(re.findall(r'^\w+_KEY = "([a-z_.0-9]+)"$', code, re.MULTILINE))
    rooms = [path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for span in _spans(page):
        if re.fullmatch(rf"(?:{'|'.join(rooms)})/[\w./-]+", span):
            assert (ROOT / span).exists(), f"{page} names {span}"
        if span in keys | ATTRIBUTES:
            continue
        if re.fullmatch(r"(?:cascade|benchmarks|adapters|tests)(?:\.[a-z_]+)+", span) and not span.endswith(".toml"):
            parts = span.split(".")
            at, file = next((n, file) for n in range(len(parts), 0, -1) for file in _files(parts[:n]) if file.is_file())
            source = file.read_text(encoding="utf-8")
            assert all(re.search(rf"\b{name}\b", source) for name in parts[at:]), f"{page} names {span}"


@pytest.mark.slow
@pages
def test_commands_have_the_options_that_they_are_called_with(page: Path) -> None:
    """Commands, modules and targets are there, and know every option that the page gives them."""
    for words in _commands(page):
        match words:
            case _ if _is_parsed(words):
                command, rest = _parser(words)
                assert _options(rest) <= _known(command), f"{page}: `{' '.join(words)}`"
            case ["python" | "python3", "-m", name, *rest] if name != "pip":
                source = _module(name)
                unknown = [option for option in _options(rest) - {"--help"} if f'"{option}"' not in source]
                assert not unknown or not source, f"{page}: `{' '.join(words)}`"
            case ["make", *targets]:
                made = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
                assert {name for name in targets if "=" not in name} <= {*made}, f"{page}: `{' '.join(words)}`"
            case ["pip", "install", *_] | ["python", "-m", "pip", "install", *_]:
                extras = {
                    name for word in words for names in re.findall(r"\[(.*)\]$", word) for name in names.split(",")
                }
                project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
                assert extras <= {*project["optional-dependencies"]}, f"{page}: `{' '.join(words)}`"


@pytest.mark.slow
@pages
def test_whole_commands_parse(page: Path) -> None:
    """A command that can be copied is taken as it stands."""
    for words in _whole_commands(page):
        if _is_parsed(words):
            command, rest = _parser(words)
            command.make_context(" ".join(words), rest)


@pages
def test_options_that_stand_alone_are_some_command_s(page: Path) -> None:
    """An option in running text is one of the command line's, a benchmark's, or of another program that is named."""
    ours = _all_options() | _known(get_command(speed)) | FOREIGN
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    for span in _spans(page):
        for option in _options(span.split()) if span.startswith(("--", "... --")) else ():
            assert option in ours or f'"{option}"' in scripts, f"{page} names {option}"


@pages
def test_blocks_are_what_they_say(page: Path) -> None:
    """Blocks of Python compile, those of JSON and TOML can be read."""
    for block in blocks(page, "python"):
        if ">>>" not in block:
            compile(block, str(page), "exec")
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "toml"):
        tomllib.loads(block)


@pytest.mark.slow
def test_messages_name_options_that_there_are() -> None:
    """An option in a text of the package is one of the command line's, or of another program that is named."""
    for path in sorted((ROOT / "cascade").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", node.value))
                assert named <= _all_options() | FOREIGN, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_scripts_have_the_options_that_their_docstrings_call_them_with() -> None:
    """The call at the top of a script is one that it takes."""
    found = 0
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for name, call in re.findall(r"^    python -m (\S+)(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            source = _module(name)
            assert all(f'"{option}"' in source for option in re.findall(r"--[a-z-]+", call)), f"{path.name}: {call}"
            found += 1
    assert found > 10


def test_all_pages_are_looked_at() -> None:
    """The pages that there are were found, and commands on them."""
    assert {"README.md", "adapters/README.md", "benchmarks/README.md"} <= {page.as_posix() for page in PAGES}
    assert sum(words[0] == "cascade" for page in PAGES for words in _commands(page)) > 50
    assert sum(words[:2] == ["python", "-m"] for page in PAGES for words in _commands(page)) > 20
