"""Signals of three files, and the words that say them."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.evidence.facts import FACTS, RANKS
from cascade.evidence.history import Change, Commit, History
from cascade.evidence.own import own_corpus
from cascade.evidence.signals import Columns, Signals
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.terms import terms
from cascade.evidence.ties import Ties
from cascade.evidence.wording import file_facts, group_facts, odds_facts, symbol_facts
from cascade.items import Item
from cascade.repository.source import read_definitions

SOURCES = {
    "shop/cart.py": '''class Cart:
    """Holds goods."""
    def total(self):
        """Sum of the rounded prices."""
        return rounded_price(self.goods)
    def _add(self, goods):
        raise ValueError("cannot add a basket twice")
''',
    "shop/price.py": "def rounded_price(goods):\n    return round(goods)\n\n\ndef other():\n    return 1\n",
    "web/view.py": "def show():\n    return Cart().total()\n",
}
TEXT = """Prices in Cart.total are not rounded

`rounded_price` is right. It says "cannot add a basket twice", see shop/price.py:

  File "/srv/shop/price.py", line 2, in rounded_price
"""
TIES = Ties(
    seeds=("shop/cart.py",), imported=frozenset({"shop/price.py"}), importers=frozenset({"web/view.py"}),
    together={"shop/price.py": 3}, seed_changes=4,
)  # fmt: skip
NOTHING = Ties()


def corpus() -> Corpus:
    """The three files and their history."""
    commits = [
        Commit(tuple(terms("Round prices")), (Change("M", "shop/price.py", "shop/price.py"),)),
        Commit(tuple(terms("Show goods")), (Change("M", "web/view.py", "web/view.py"),)),
    ]
    entries = [Entry.of(read_definitions(path, text.encode()), text) for path, text in SOURCES.items()]
    return Corpus(tuple(SOURCES), tuple(entries), History.of(commits, SOURCES.keys()))


@pytest.fixture(scope="module")
def signals() -> Signals:
    """Of the three files for one task with a seed."""
    return Signals(corpus(), TaskTerms(TEXT), TIES)


def of_symbols(signals: Signals, name: str) -> dict[str, float]:
    """A signal by symbol, where it is not 0."""
    names = [one.qualname for one in signals.corpus.symbols]
    return {one: value for one, value in zip(names, signals.symbols[name].tolist(), strict=True) if value}


def of_files(signals: Signals, name: str) -> dict[str, float]:
    """A signal by file, where it is not 0."""
    return {one: value for one, value in zip(SOURCES, signals.files[name].tolist(), strict=True) if value}


def test_words_of_each_part(signals: Signals) -> None:
    """Bodies, heads, documentation and literals match by themselves; the best of the tree has 1."""
    assert of_symbols(signals, "literals_share") == {"Cart._add": 1.0}
    assert of_symbols(signals, "quoted_share") == {"Cart._add": 1.0}
    assert set(of_symbols(signals, "doc_share")) == {"Cart.total"}
    assert max(of_symbols(signals, "body_share").values()) == 1
    assert "other" not in of_symbols(signals, "body_share")
    assert of_symbols(signals, "head_share")["rounded_price"] > 0
    assert of_symbols(signals, "code_share")["rounded_price"] > 0
    assert 0 < of_symbols(signals, "covers")["rounded_price"] < 1


def test_mentions(signals: Signals) -> None:
    """Names, names with their class, and classes."""
    assert of_symbols(signals, "named") == {"Cart": 1.0, "Cart.total": 1.0, "rounded_price": 1.0}
    assert of_symbols(signals, "qualified") == {"Cart.total": 1.0}
    assert of_symbols(signals, "owner_named") == {"Cart.total": 1.0, "Cart._add": 1.0}
    assert of_symbols(signals, "traced") == of_symbols(signals, "traced_last") == {"rounded_price": 1.0}
    assert of_files(signals, "located") == {"shop/price.py": 1.0}


def test_references(signals: Signals) -> None:
    """Who uses what matches, and what those use."""
    assert of_symbols(signals, "callers_traced") == {}
    assert of_symbols(signals, "callees_traced") == {"Cart.total": 1.0}
    assert of_symbols(signals, "callers_named")["rounded_price"] == 1.0
    assert set(of_symbols(signals, "n_users")) == {"Cart", "Cart.total", "rounded_price"}


def test_files_and_history(signals: Signals) -> None:
    """Words of paths, messages of commits, and ties to the seed."""
    assert of_files(signals, "history_share") == {"shop/price.py": 1.0}
    assert set(of_files(signals, "churn")) == {"shop/price.py", "web/view.py"}
    assert of_files(signals, "seed") == {"shop/cart.py": 1.0}
    assert of_files(signals, "imported") == {"shop/price.py": 1.0}
    assert of_files(signals, "imports") == {"web/view.py": 1.0}
    assert of_files(signals, "ratio") == {"shop/price.py": 0.75}
    assert set(of_files(signals, "never")) == {"shop/cart.py", "web/view.py"}
    assert set(of_files(signals, "beside")) == {"shop/cart.py", "shop/price.py"}
    assert set(of_files(signals, "has_seed").values()) == set(of_files(signals, "has_history").values()) == {1.0}


def test_form(signals: Signals) -> None:
    """What a symbol is, whatever the task."""
    assert set(of_symbols(signals, "method")) == {"Cart.total", "Cart._add"}
    assert set(of_symbols(signals, "class")) == {"Cart"}
    assert set(of_symbols(signals, "private")) == {"Cart._add"}
    assert set(of_symbols(signals, "has_doc")) == {"Cart", "Cart.total"}
    assert of_symbols(signals, "lines")["rounded_price"] == pytest.approx(np.log(3))


EMPTY = Corpus((), ())
CORPORA = {
    "nothing": EMPTY,
    "one symbol": own_corpus([Item(id="1", name="parse")]),
    "files without symbols": Corpus(("a.py", "b.py"), (Entry.of([], "x = 1"), Entry.of([], ""))),
    "three files": corpus(),
}


def is_sound(columns: Columns, n: int) -> bool:
    """Whether every signal has a finite value for each."""
    return all(values.shape == (n,) and bool(np.isfinite(values).all()) for values in columns.values())


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("text", ["", "?!", "the of", "parse", TEXT, "\ud800 \0"])
@pytest.mark.parametrize("ties", [TIES, NOTHING])
def test_little_is_no_error(name: str, text: str, ties: Ties) -> None:
    """No symbols, no words, no ties: every signal is there and finite, and all facts are known words."""
    found = Signals(CORPORA[name], TaskTerms(text), ties)
    n, n_files = len(found.corpus.symbols), len(found.corpus.paths)
    assert is_sound(found.symbols, n)
    assert is_sound(found.files, n_files)
    assert set(found.symbols) == set(CORPORA_SIGNALS.symbols)
    said = [*symbol_facts(found.symbols, range(n)), *group_facts(found.files, range(n_files))]
    said += file_facts(found.files, range(n_files))
    assert {fact for facts in said for fact in facts} <= set(FACTS)
    assert all(len(facts) == len(set(facts)) for facts in said)


CORPORA_SIGNALS = Signals(EMPTY, TaskTerms(""), NOTHING)


def test_facts_say_the_signals(signals: Signals) -> None:
    """In ninths and doublings, in the order of those asked for; a size of 0 is not said."""
    place = [one.qualname for one in signals.corpus.symbols].index("rounded_price")
    (facts, other) = symbol_facts(signals.symbols, [place, place + 1])
    assert {"named9", "traced9", "rank1", "size2", "users1"} <= set(facts)
    assert not [fact for fact in other if fact.startswith(("named", "traced", "rank", "body"))]
    seed, price, view = group_facts(signals.files, [0, 1, 2])
    assert {"seed", "never3"} <= set(seed)
    assert {"imported", "together2", "ratio8", "located9", "history9"} <= set(price)
    assert {"imports", "never3"} <= set(view)
    assert "beside" in file_facts(signals.files, [1])[0]


def test_log_odds_are_said_in_steps_of_a_half() -> None:
    """From -8 to 3.5; what lies beyond is said as the end."""
    odds = np.array([-99.0, -8.0, -7.7, -0.1, 0.0, 0.26, 3.5, 99.0])
    assert odds_facts("matters", odds) == [f"matters{n}" for n in (0, 0, 1, 16, 16, 17, 23, 23)]


def test_ranks_are_said_by_their_edges() -> None:
    """The first is among the first, the fourth among the first five, the ninetieth among none."""
    n = 120
    order = own_corpus([Item(id=str(at), name=f"parse_{at}", text="parse " * (n - at)) for at in range(n)])
    found = Signals(order, TaskTerms("parse"), NOTHING)
    ranks = {facts[-1] for facts in symbol_facts(found.symbols, range(n)) if facts[-1].startswith("rank")}
    assert ranks == {f"rank{edge}" for edge in RANKS}
    counted = [fact for facts in symbol_facts(found.symbols, range(n)) for fact in facts if fact.startswith("rank")]
    assert len(counted) == RANKS[-1]
