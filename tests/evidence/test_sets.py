"""Sets of files as items."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.evidence.making import Evidence
from cascade.evidence.own import own_corpus
from cascade.evidence.sets import MOST_FOLDERS, FileSet, folder_sets, set_columns, set_items, set_odds
from cascade.evidence.ties import Ties
from cascade.items import Item
from cascade.probability import p_yes
from tests.helpers.ranker import simple_ranker

FILES = ("a/cart.py", "a/price.py", "b/view.py")


def evidence(files: tuple[str, ...] = FILES, text: str = "the price of a cart") -> Evidence:
    """What is known of files by their paths."""
    corpus = own_corpus([Item(id=path, kind="file", name=path) for path in files])
    return Evidence.of(corpus, text, Ties(), simple_ranker())


def test_a_set_matters_if_any_of_its_files_does() -> None:
    """P is that of at least one file, each on its own; that of no file is next to nothing."""
    known = evidence()
    p = p_yes(known.file_odds)
    sets = [FileSet(name="all", kind="folder", files=(0, 1, 2)), FileSet(name="none", kind="folder")]
    both, nothing = p_yes(set_odds(known, sets))
    assert both == pytest.approx(1 - (1 - p).prod())
    assert nothing < 1e-5
    assert both > p.max()


def test_a_signal_of_a_set_is_the_best_of_its_files() -> None:
    """The largest share, the smallest rank, and the number of files in place of symbols."""
    known = evidence()
    signals = known.signals.files
    found = set_columns(signals, [FileSet(name="a", kind="folder", files=(0, 1)), FileSet(name="x", kind="folder")])
    assert found["path_share"].tolist() == [signals["path_share"][:2].max(), 0]
    assert found["words_rank"].tolist() == [signals["words_rank"][:2].min(), 0]
    assert np.expm1(found["n_symbols"]).round().tolist() == [2, 0]
    assert set(found) == set(signals)


def test_the_likeliest_folders_are_taken() -> None:
    """At most forty, and the one whose path has the task's words is the first."""
    known = evidence((*(f"dir{at:02}/x.py" for at in range(60)), "cart/price.py"))
    sets = folder_sets(known)
    assert len(sets) == MOST_FOLDERS
    assert sets[0].name == "cart"


def test_items_do_not_depend_on_how_often_they_are_made() -> None:
    """The same evidence gives the same items, which name the likeliest files first."""
    known = evidence()
    (one,) = set_items(known, [FileSet(name="a", kind="folder", doc="Goods.", files=(0, 1))])
    assert set_items(known, [FileSet(name="a", kind="folder", doc="Goods.", files=(0, 1))]) == [one]
    assert set(one.signature.split()) == {"cart.py", "price.py"}
    assert (one.doc, one.prior) == ("Goods.", one.priority)
