"""Words as numbers: they meet where they mean the same, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest

from cascade.evidence.terms import NONE, name_term, name_terms, terms

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        "handle handles handled handling handler handlers Handler HANDLE",
        "redirect redirects redirection redirections redirected",
        "query queries queried",
        "sizes size sized",
    ],
)
def test_words_of_one_family_meet(text: str) -> None:
    """Whatever their endings and their case."""
    assert len(set(terms(text))) == 1


def test_words_of_several_families_do_not_meet() -> None:
    """Short words keep their endings: "use" and "us" or "as" are not one."""
    words = "session cache parse parquet page ring string key yes ids bus".split()
    assert len({number for word in words for number in terms(word)}) == len(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("HTTPResponseParser", "http response parser"),
        ("make_response2xx", "make response 2 xx"),
        ("parseJSON", "parse json"),
        ("x86_64", "86 64"),
        ("IPv6 getURLs", "ipv 6 get urls"),
        ("größte naïve_Wörter", "größte naïve wörter"),
        ("виджет.カート", "виджет カート"),
    ],
)
def test_identifiers_are_taken_apart(text: str, words: str) -> None:
    """At underscores, digits and capitals of ASCII; letters of other scripts stay together."""
    assert terms(text) == terms(words)
    assert len(terms(words)) == len(words.split())


def test_stop_words_and_single_letters_are_left_out() -> None:
    """What stands in any text tells nothing; digits tell something."""
    assert terms("The a of and THIS x Y _ z") == []
    assert terms("") == terms(" \n\t.,;()") == []
    assert len(terms("404 7")) == 2
    assert terms("404") != terms("405")


def test_words_come_in_order_and_as_often_as_they_stand() -> None:
    """A list, not a set."""
    cache, parse = terms("cache") + terms("parse")
    assert terms("cache the parsed caches") == [cache, parse, cache]


def test_very_long_words_are_cut() -> None:
    """What a word has after forty characters is data."""
    assert terms("q" * 40) == terms("q" * 1_000_000)
    assert terms("q" * 39) != terms("q" * 40)


def test_names_are_kept_as_written() -> None:
    """Of three characters or more, with their case."""
    assert name_terms("make_Response(x, id, self.größe)") == [
        name_term(one) for one in ("make_Response", "self", "größe")
    ]
    assert name_term("Cache") != name_term("cache")
    assert name_term("\ud800") != name_term("\ud801")


def test_no_name_is_nothing() -> None:
    """0 stands for what is no word; a name whose checksum is 0 has another number."""
    assert name_term("") == 1 != NONE
    assert all(0 < number < 2**32 for number in terms("one two three"))


def test_numbers_are_the_same_in_every_process() -> None:
    """They are kept in a cache, and a model was trained on what they find."""
    code = "from cascade.evidence.terms import *; print(terms('parse HTTPHeaders 404'), name_term('größe'))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{terms('parse HTTPHeaders 404')} {name_term('größe')}\n"}
    assert terms("parsed") == [crc32(b"pars")]
