"""Mined tasks: the views in which a commit is asked."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from adapters.recipe.mine import Mined
from adapters.recipe.parts import MinedParts
from cascade.evidence.facts import FACTS


def test_every_second_docstring_claims_evidence_and_changes_no_label(history: tuple[Mined, MinedParts]) -> None:
    """The view ``said`` has the items of ``own`` with their labels; docstrings that differ are words of evidence."""
    views = {view.name: view for view in history[0].views}
    own, said = views["own"], views["said"]
    np.testing.assert_array_equal(own.labels, said.labels)
    pairs = list(zip(own.corpus.symbols, said.corpus.symbols, strict=True))
    assert [one.id for one, _ in pairs] == [other.id for _, other in pairs]
    claimed = [other.doc for one, other in pairs if one.doc != other.doc]
    assert 0 < len(claimed) < len(pairs)
    assert all(set(doc.split()) <= set(FACTS) for doc in claimed)


def test_a_later_question_is_asked_of_what_comes_so_far() -> None:
    """An item that does not matter is asked too where the ranker let it through, with the answer no; others stay."""
    pytest.importorskip("torch")
    from adapters.recipe.data import Ask, Row, Tree, with_met  # noqa: PLC0415 - needs torch

    first, later = Ask("relevant", (1,), 0), Ask("primary", (2,), 0)
    rows = tuple(
        Row(array("H", [7]), None, asks, True, (odds, 0.0))
        for asks, odds in (((first,), -4.0), ((first,), -2.0), ((Ask("relevant", (1,), 1),), -2.0))
    )
    views = with_met({"none": (Tree("precision", array("H"), (), rows),)}, later, -3.0)
    assert [row.asks[1:] for row in views["none"][0].rows] == [(), (later,), ()]
