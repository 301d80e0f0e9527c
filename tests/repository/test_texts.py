"""The source of candidates as their text, for cascades whose stages read it."""

from __future__ import annotations

import pytest

from cascade.repository.texts import MOST_CHARACTERS, with_texts, without_licence
from tests.helpers.checkout import Checkout

PARSE = '''@cached
def parse(text):
    """Parse it."""
    return Parser().feed(text)
'''
PARSER = '''class Parser:
    """Parses.\f"""

    def feed(self, text):
        return text
'''
LICENCE = "#!/usr/bin/env python\n# Copyright 2024 Ada.\n# All rights reserved.\n\n"


def test_a_symbol_has_its_own_lines(checkout: Checkout) -> None:
    """Decorators, documentation and inner definitions are there, and nothing of what stands beside it."""
    checkout.write({"src/parse.py": f"{LICENCE}import os\n\n\n{PARSE}\n\n{PARSER}"})
    found = checkout.find("parse the text")
    plain = found.symbol_items()
    assert not any(item.text for item in plain)
    texts = {item.name: item.text for item in with_texts(found, plain)}
    assert texts["parse"] == PARSE.strip()
    assert texts["Parser"] == PARSER.strip()
    assert texts["Parser.feed"] == "    def feed(self, text):\n        return text"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_language_says(checkout: Checkout, end: str) -> None:
    """Whatever ends the lines of a file, a symbol has its own."""
    source = f"import os\n\n{PARSE}\n\n{PARSER}".replace("\n", end)
    checkout.write({"src/parse.py": source.encode()})
    found = checkout.find("parse the text")
    texts = {item.name: item.text for item in with_texts(found, found.symbol_items())}
    assert texts["Parser.feed"].split() == "def feed(self, text): return text".split()
    assert texts["parse"].startswith("@cached")


def test_lines_of_another_language(checkout: Checkout) -> None:
    """A language that tree-sitter reads counts lines alike."""
    pytest.importorskip("tree_sitter_javascript")
    checkout.write({"cart.js": "// a\u2028b\n/* Copyright */\nclass Cart {\n  add(n) {\n    return n;\n  }\n}\n"})
    found = checkout.find("add to the cart")
    texts = {item.name: item.text for item in with_texts(found, found.symbol_items())}
    assert texts["Cart.add"].split() == "add(n) { return n; }".split()


def test_a_file_has_its_source_without_a_licence(checkout: Checkout) -> None:
    """The head of a file is what it does, not who owns it; the others of its lines stay as they are."""
    body = '"""Purses."""\nfrom app.coin import Coin\n'
    checkout.write({"app/coin.py": "class Coin: ...\n", "app/purse.py": LICENCE + body, "app/long.py": body * 9_000})
    found = checkout.find("the purse", "app/coin.py")
    plain = found.file_items()
    assert not any(item.text for item in plain)
    texts = {item.id: item.text for item in with_texts(found, plain)}
    assert texts["app/purse.py"].strip() == body.strip()
    assert len(texts["app/long.py"]) == MOST_CHARACTERS


def test_a_file_that_is_gone_gives_no_text(checkout: Checkout) -> None:
    """What vanished since it was read, or is no text any more, leaves the item as it was."""
    checkout.write({"a.py": "def parse(): ...\n", "b.py": "def parse_all(): ...\n"})
    found = checkout.find("parse it")
    (checkout.root / "a.py").unlink()
    (checkout.root / "b.py").write_bytes(b"\0" * 100)
    assert [item.text for item in with_texts(found, found.symbol_items())] == ["", ""]


@pytest.mark.parametrize(
    ("source", "left"),
    [
        ("// Copyright X\n// Y\n#include <z>\n", "#include <z>\n"),
        ("/* Licensed under\n * Z */\n\n/* what it does */\n", "\n\n/* what it does */\n"),
        ("# what it does\nimport licence\n", "# what it does\nimport licence\n"),
        ("-- SPDX: MIT\nlocal x\n", "local x\n"),
        ("<!-- license -->\n<p>\n", "\n<p>\n"),
        ("import copyright\n", "import copyright\n"),
        ("/* licence", "/* licence"),
        ("", ""),
    ],
)
def test_only_a_licence_at_the_head_is_left_out(source: str, left: str) -> None:
    """Comments that speak of a licence go, in any usual form; other comments and all code stay."""
    assert without_licence(source) == left
