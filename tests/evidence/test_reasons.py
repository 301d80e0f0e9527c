"""Reasons in words: they say no more than what was found."""

from __future__ import annotations

import pytest

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.evidence.history import History
from cascade.evidence.reasons import Reasons
from cascade.evidence.signals import Signals
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.ties import Ties
from cascade.repository.source import read_definitions

QUOTES = "has a message that the task quotes"
SOURCES = {
    "net/adapters.py": """class Base:
    def send(self, request):
        raise NotImplementedError
class Adapter(Base):
    def send(self, request):
        raise OSError("cannot reach the proxy of this host")
    def url(self):
        return "http://localhost"
""",
    "net/sessions.py": "def redirect(response):\n    return response\n",
}


def reasons(text: str) -> dict[str, list[str]]:
    """Why each symbol may matter for a task."""
    entries = [Entry.of(read_definitions(path, source.encode()), source) for path, source in SOURCES.items()]
    corpus = Corpus(tuple(SOURCES), tuple(entries), History.of([], SOURCES.keys()))
    found = Reasons(Signals(corpus, TaskTerms(text), Ties()))
    return {symbol.qualname: found.of_symbol(at) for at, symbol in enumerate(corpus.symbols)}


@pytest.mark.parametrize(
    "quote", ['"cannot reach the proxy of this host"', "OSError: cannot reach the proxy of this host"]
)
def test_a_quoted_message_is_told(quote: str) -> None:
    """Of the symbol whose literal it is, and of no other."""
    found = reasons(f"It fails with {quote}" if quote.startswith('"') else f"It fails:\n\n{quote}\n")
    assert [name for name, why in found.items() if QUOTES in why] == ["Adapter.send"]


def test_a_url_in_quotes_is_no_message() -> None:
    """A word or two that a literal shares with what is quoted tell nothing."""
    assert not any(QUOTES in why for why in reasons('get("http://localhost/start") fails').values())


def test_a_name_in_a_traceback_that_several_bear_is_told_as_such() -> None:
    """A traceback names a function, and not its class."""
    trace = 'File "/srv/net/{}.py", line 6, in {}'
    found = reasons("It fails:\n  " + trace.format("adapters", "send") + "\n  " + trace.format("sessions", "redirect"))
    assert "in a traceback of the task" in found["redirect"]
    for name in ("Base.send", "Adapter.send"):
        assert "in a traceback of the task" not in found[name]
        assert "named like a call in the task's traceback" in found[name]


def test_one_message_of_several_is_told() -> None:
    """What else the task quotes takes nothing away from it; a few words that it shares with another do not count."""
    found = reasons(
        'It says "cannot reach the proxy of this host" and then "another thing that nobody has ever written here" '
        'or "a proxy for this page is what the user wanted to see there"'
    )
    assert [name for name, why in found.items() if QUOTES in why] == ["Adapter.send"]
