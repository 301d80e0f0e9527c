"""Which mentions are told: those that surely mean what they are said to."""

from __future__ import annotations

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.evidence.meant import Meant
from cascade.repository.source import read_definitions

SOURCES = {
    "shop/app.py": """
from shop.fees import half
from pathlib import Path

class App:
    def start(self):
        self.stop()
        Path("x").join([half(2)])

    def stop(self):
        return rounded(3)

    def pay(self, total, *, fee=None):
        return total + fee + Till().count()
""",
    "shop/fees.py": """
def half(number):
    return rounded(number / 2)

def rounded(number):
    return number

class Other:
    def stop(self):
        return None

    def total(self):
        return None
""",
    "shop/desks.py": """
class Till:
    def count(self):
        return None

    def tally(self):
        return 1

class Path:
    def join(self, parts):
        return self.stop()

def use(till):
    return till.tally()
""",
}


def _mentions() -> set[tuple[str, str]]:
    entries = [Entry.of(read_definitions(path, text.encode()), text) for path, text in SOURCES.items()]
    corpus = Corpus(tuple(SOURCES), tuple(entries))
    meant, links = Meant(corpus), corpus.links
    return {
        (corpus.symbols[user].qualname, corpus.symbols[used].qualname)
        for row, (user, used) in enumerate(zip(links.users.tolist(), links.used.tolist(), strict=True))
        if meant(row)
    }


def test_a_mention_means_what_its_class_or_its_file_has_or_what_it_can_import() -> None:
    """A method of the own class, a function of an imported module, and a name that is there once."""
    found = _mentions()
    assert {("App.start", "App.stop"), ("App.start", "half"), ("half", "rounded"), ("use", "Till.tally")} <= found


def test_what_a_name_may_mean_otherwise_is_no_mention() -> None:
    """A parameter, another class's method, a method of built-in types, or a module that the file never names."""
    found = _mentions()
    for one in (
        ("App.start", "Other.stop"),
        ("App.pay", "Other.total"),
        ("App.start", "Path"),
        ("App.start", "Path.join"),
        ("App.pay", "Till.count"),
        ("Path.join", "App.stop"),
        ("Path.join", "Other.stop"),
    ):
        assert one not in found
