"""What a task says, in any language's spelling and at any length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cascade.evidence.starting_points import starting_points, traced_calls
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.terms import name_term, terms

ROOT = Path(__file__).parents[2]
PARTS = ("words", "counts", "title", "quoted", "names", "code", "called", "qualified", "name_words", "code_words")


def test_words_have_counts_and_a_title() -> None:
    """Rising and once each, with how often they stand in the text and in its first line."""
    task = TaskTerms("\n  Parse the cache twice\n\nThe cached parser parses nothing.\n")
    said = dict(zip(task.words.tolist(), zip(task.counts.tolist(), task.title.tolist(), strict=True), strict=True))
    (parse, cache, twice, nothing) = terms("parse cache twice nothing")
    assert said == {parse: (3, 1), cache: (2, 1), twice: (1, 1), nothing: (1, 0)}
    assert task.words.tolist() == sorted(said)


@pytest.mark.parametrize(
    "line",
    [
        '  File "/home/ann/venv/lib/site-packages/shop/fees.py", line 8, in pay',
        r'  File "C:\Users\ann\work\shop\fees.py", line 8, in pay',
        "\t/home/ann/work/shop/fees.go:31 +0x1d",
    ],
)
def test_the_machine_of_a_traceback_says_nothing(line: str) -> None:
    """Of the folders of a traced path the last one counts; a path that is no line of a trace counts in full."""
    said = set(TaskTerms(f"Paying fails\n{line}\n").words.tolist())
    assert set(terms("shop fees")) <= said
    assert not said & set(terms("ann home users"))
    assert set(terms("home ann")) <= set(TaskTerms("It reads /home/ann/work/shop/fees.py again").words.tolist())


@pytest.mark.parametrize(
    "line",
    [
        '127.0.0.1 - - [12/Mar/2026 10:33:21] "GET /cache HTTP/1.1" 200 -',
        "2026-03-12 10:33:21,123 INFO cache: GET 200 took",
        "2026-03-12T10:33:21.123Z GET cache 200",
        "[10:33:21] GET cache 200",
    ],
)
def test_what_a_log_repeats_counts_once(line: str) -> None:
    """Its times and addresses not at all, and a word that the task says elsewhere only there."""
    task = TaskTerms("The cache drops a cache\n" + f"{line}\n" * 9)
    said = dict(zip(task.words.tolist(), task.counts.tolist(), strict=True))
    (cache, get, code) = terms("cache GET 200")
    assert (said[cache], said[get], said[code]) == (2, 1, 1)
    assert not said.keys() & set(terms("10 33 21 127 2026 03 12"))
    assert terms("10")[0] in TaskTerms("It waits until 10:30:00 each day").words


def test_a_short_number_is_not_telling() -> None:
    """It stands in many bodies by chance."""
    assert not any(TaskTerms(text).is_telling for text in ("12", "7 42 !", ""))
    assert all(TaskTerms(text).is_telling for text in ("404", "go 12"))


@pytest.mark.parametrize("text", ["", " \n", "?!", "the and of", "\ud800", "\0"])
def test_a_task_without_words_says_nothing(text: str) -> None:
    """Each part is there and empty, or names without a telling word."""
    task = TaskTerms(text)
    assert [len(getattr(task, part)) for part in ("words", "counts", "title", "quoted")] == [0] * 4
    assert not task.code
    assert not task.qualified


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`make response` fails", {"make", "response"}),
        ("make_response, _private and plain", {"make_response", "_private"}),
        ("camelCase and FooBar, but HTTPServer, HTTP and Server are plain", {"camelCase", "FooBar"}),
        ("call go(1) or stop ()", {"go"}),
        ("flask.app breaks", {"flask", "app"}),
        ("a `\n` over lines is none", set()),
        ("2fast_4you", {"2fast_4you"}),
    ],
)
def test_what_is_surely_code(text: str, found: set[str]) -> None:
    """Names in backticks, in snake or camel case, called or dotted; plain words are names alone."""
    task = TaskTerms(text)
    assert task.code == found
    assert {name_term(name) for name in found if len(name) > 2} == set(task.code_words.tolist())


@pytest.mark.parametrize(
    "text",
    [
        "Flask.make_response", "Flask::make_response", "Flask#make_response", "flask->Flask.make_response",
        "`flask.app.Flask.make_response()`", "use flask::Flask::make_response;", "1Flask.make_response",
    ],
)  # fmt: skip
def test_qualified_names_have_many_spellings(text: str) -> None:
    """Dots, Rust's and C++'s colons, Ruby's hash and C's arrow; every two that follow each other count."""
    assert "Flask.make_response" in TaskTerms(text).qualified
    assert {"Flask", "make_response"} <= TaskTerms(text).code


def test_what_is_called() -> None:
    """A name right before an opening bracket."""
    assert TaskTerms("go(), a.b(c) and stop (x), 7(8), 9lives(").called == {"go", "b", "lives"}


@pytest.mark.parametrize(
    "text",
    [
        'raises "cannot close the cursor twice"', "says 'cannot close the cursor twice' and ends",
        "says “cannot close the cursor twice”", "ValueError: cannot close the cursor twice",
        "log:\n  pkg_Broken.CursorError: no\n  CursorException: cannot close the cursor twice\nend",
    ],
)  # fmt: skip
def test_messages_are_quotations(text: str) -> None:
    """In any quotation marks, or behind the name of an error at the start of a line."""
    task = TaskTerms(text)
    quoted = {word for word, is_quoted in zip(task.words.tolist(), task.quoted.tolist(), strict=True) if is_quoted}
    assert quoted == set(terms("cannot close the cursor twice"))


def test_short_quotations_are_names() -> None:
    """Fewer than twelve characters are no message, nor is what stands between two apostrophes of one line's end."""
    assert not TaskTerms("the 'cache' isn't\nbroken, it doesn't").quoted.any()


UNITS = (
    "a.", "a", "A", "Aa", "aA", "_", "a_", "1", "1a", "a1", "`", "a`", "'", "'a", '"', '"a', "“", "x::", "::", "x->",
    "a#", "(", ")", "a(", "a()", "a()\n", "()\n  ", "\n", "\n ", " ", "\t", ":1", ":1x", "a:1", "1: ", "1: a\n at ",
    "/", "a/", "../", "\\", "Error: ", "AError: ", 'File "', "at a (", "at a (b:1:1)\n", "a.rb:1:in `", "é", "\ud800",
    "main.f(0x1)\n\t/x.go:1\n", ".func1.2", "at a() in ", "2026-01-01 10:00:00 ", "1:00:00",
)  # fmt: skip

READ_ALL = f"""
import sys
from cascade.evidence.starting_points import starting_points, traced_calls
from cascade.evidence.task_terms import TaskTerms

units, n = {UNITS!r}, 100_000
paths = [f"pkg{{at}}/__init__.py" for at in range(50)] + ["a/main.py", "x.go", "a.rb"]
for unit in units:
    for start, end in (("", ""), ("Aa", "!"), (":1", "x")):
        text = start + unit * (n // len(unit)) + end
        task = TaskTerms(text)
        for part in {PARTS!r}:
            getattr(task, part)
        starting_points(text, paths), traced_calls(text, paths)
print("read")
"""


@pytest.mark.slow
def test_texts_of_any_kind_are_read_in_time() -> None:
    """Whatever a log repeats a hundred thousand times costs no more than other text: none would end in an hour."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL], capture_output=True, text=True, timeout=500, check=True, cwd=ROOT
    )
    assert done.stdout == "read\n"


def test_megabytes_are_read_in_full() -> None:
    """What stands at the end of a very long text counts as what stands at its beginning."""
    text = "title\n" + "2024-01-01 INFO the server is fine\n" * 60_000 + "Flask.make_response() raises in `app.py`"
    task = TaskTerms(text)
    assert "Flask.make_response" in task.qualified
    assert task.counts.max() == 120_000
    assert list(starting_points(text, ["src/app.py"])) == ["src/app.py"]
    assert traced_calls(text + '\n  File "src/app.py", line 3, in go', ["src/app.py"]) == [(("src/app.py",), "go")]
