"""Symbols and files as arrays: who uses whom, and who belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.repository.source import read_definitions


def joined(entries: list[tuple[str, Entry]]) -> Corpus:
    """A corpus of files and their entries."""
    return Corpus(tuple(path for path, _ in entries), tuple(entry for _, entry in entries))


def corpus_of(**sources: str) -> Corpus:
    """A corpus of Python files."""
    files = {f"{name}.py": source for name, source in sources.items()}
    return joined([
        (path, Entry.of(read_definitions(path, source.encode()), source)) for path, source in files.items()
    ])  # fmt: skip


THREE = corpus_of(
    a="""class Cart:
    def total(self): return rounded(1)
    def add(self): return self.total()
def main(): Cart()
""",
    b="def rounded(x): return x\n",
    c="x = 1\n",
)


def links(corpus: Corpus) -> dict[tuple[str, str], float]:
    """User and used -> weight."""
    names, found = [one.qualname for one in corpus.symbols], corpus.links
    return {
        (names[user], names[used]): weight
        for user, used, weight in zip(found.users, found.used, found.weights.tolist(), strict=True)
    }


def test_symbols_come_file_by_file() -> None:
    """With the number of each file's first, also of a file without any."""
    assert [one.qualname for one in THREE.symbols] == ["Cart", "Cart.total", "Cart.add", "main", "rounded"]
    assert (THREE.starts.tolist(), THREE.files.tolist()) == ([0, 4, 5, 5], [0, 0, 0, 0, 1])
    assert THREE.names == ("Cart", "total", "add", "main", "rounded")
    assert THREE.owners == ("", "Cart", "Cart", "", "")


def test_who_uses_whom() -> None:
    """By name, across files; nobody uses itself."""
    found = links(THREE)
    assert found[("Cart.total", "rounded")] == 1
    assert found[("Cart.add", "Cart.total")] == 1
    assert found[("main", "Cart")] == 1
    assert not [pair for pair in found if pair[0] == pair[1]]
    values = np.array([0.0, 0.0, 0.5, 0.0, 1.0])
    assert THREE.links.best_user(values).tolist() == [0.0, 0.5, 0.0, 0.0, 0.0]
    assert THREE.links.best_used(values).tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("n", "weights"), [(1, [1.0]), (2, [0.5] * 2), (4, [0.25] * 4), (5, [])])
def test_a_name_of_many_says_nothing(n: int, weights: list[float]) -> None:
    """Each of at most four that bear it may be meant, with a share; five definitions of a name tell nothing."""
    several = {f"m{at}": "def load(): ...\n" for at in range(n)}
    found = corpus_of(user="def go(): return load()\n", **several)
    assert list(links(found).values()) == weights[:1]
    assert found.links.weights.tolist() == weights
    assert found.namesakes.tolist() == [1.0] + [float(n)] * n


def test_members_of_a_class_are_mates() -> None:
    """A class counts to its own members, top levels of two files are apart."""
    mates = THREE.mates.tolist()
    assert mates[0] == mates[1] == mates[2]
    assert len({mates[0], mates[3], mates[4]}) == 3


def test_what_is_without_source_has_no_body() -> None:
    """A definition whose source is not known, and nothing at all."""
    assert THREE.has_body.all()
    nothing = Corpus((), ())
    assert (len(nothing.symbols), nothing.links.users.tolist(), nothing.mates.tolist()) == (0, [], [])
    assert nothing.namesakes.shape == nothing.sizes.shape == nothing.has_body.shape == (0,)
    empty = corpus_of(a="", b="x = 1\n")
    assert (empty.starts.tolist(), empty.links.weights.tolist()) == ([0, 0, 0], [])
