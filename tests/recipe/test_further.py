"""The further tasks from commits: a small history is mined, and its labels are those that the commit shows."""

from __future__ import annotations

from adapters.recipe.further import (
    HELD_OUT,
    MADE,
    labelled_edges,
    labelled_own_edges,
    labelled_own_stages,
    labelled_views,
)
from adapters.recipe.mine import Mined
from adapters.recipe.parts import MinedParts, changed_parts
from cascade.evaluation.dataset import Labelled
from cascade.evidence.history import Change
from tests.helpers.ranker import simple_ranker
from tests.recipe.conftest import BEFORE


def truth(labelled: Labelled, yes: str) -> set[str]:
    """Names of the items with a label."""
    return {item.name for item, label in zip(labelled.items, labelled.labels, strict=True) if label == yes}


def test_a_folder_is_touched_if_the_commit_changed_a_file_in_it(history: tuple[Mined, MinedParts]) -> None:
    """With every file to start from, and as items of one's own without evidence of a checkout."""
    for view in labelled_views("module", history[0], simple_ranker()).values():
        assert truth(view, "touched") == {"shop", "web"}
        assert truth(view, "untouched") == {"tools"}


def test_a_stage_is_in_if_it_finds_what_was_changed(history: tuple[Mined, MinedParts]) -> None:
    """Seeds do not count: from the changed price the imports lead to the cart alone, words to the view."""
    views = labelled_views("routing", history[0], simple_ranker())
    assert truth(views["right"], "in") <= {"co_change", "metadata"}
    assert "metadata" in truth(views["none"], "in")
    assert "dependency" in truth(views["none"], "out")
    assert {item.name for item in views["own"].items} > {"dependency", "text_search", "recently_changed"}


def test_one_stage_is_kept_back(history: tuple[Mined, MinedParts]) -> None:
    """It is in no training task, and can be asked for to see how new descriptions fare."""
    view = history[0].views[0]
    for unseen in (False, True):
        found = labelled_own_stages(history[0], view, simple_ranker(), unseen=unseen)
        assert (HELD_OUT in {item.name for item in found.items}) == unseen


def test_a_file_stays_if_it_is_changed_or_used(history: tuple[Mined, MinedParts]) -> None:
    """What the commit changed stays; what has nothing to do with it goes."""
    none = labelled_views("refilter", history[0], simple_ranker())["none"]
    assert {"shop/price.py", "web/view.py"} & {item.name for item in none.items} <= truth(none, "kept")
    assert "tools/other.py" not in truth(none, "kept")


def test_an_edge_is_what_the_commit_leaves(history: tuple[Mined, MinedParts]) -> None:
    """Evidence is that of the tree before; the truth, that after."""
    (mined,) = history[1].edges
    assert {part.path for part in mined.before} == {"shop/price.py", "web/view.py"}
    found = labelled_edges(mined)
    assert truth(found, "depends") == set()
    assert len(found.items) == 2
    assert all("imports" not in item.evidence for item in found.items)
    own = labelled_own_edges(mined, simple_ranker())
    assert [item.name for item in own.items] == [item.name for item in found.items]


def test_sizes_are_those_before_the_commit(history: tuple[Mined, MinedParts]) -> None:
    """In bytes, of every file that a view finds or starts from."""
    mined, parts = history
    sizes = parts.sizes[mined.id]
    assert sizes["shop/price.py"] == len(BEFORE["shop/price.py"])
    assert set(sizes) <= set(BEFORE)


def test_what_a_commit_must_change_to_have_parts() -> None:
    """Source that is added or modified; a commit that removes or renames source says too little."""
    assert changed_parts([Change("M", "a.py", "a.py"), Change("A", "b.py", "b.py"), Change("D", "x.md", "x.md")]) == [
        "a.py", "b.py",
    ]  # fmt: skip
    assert changed_parts([Change("M", "a.py", "a.py"), Change("D", "b.py", "b.py")]) == []
    assert changed_parts([Change("M", f"{at}.py", f"{at}.py") for at in range(9)]) == []


def test_every_cascade_has_both_kinds_of_items(history: tuple[Mined, MinedParts]) -> None:
    """Each view of the checkout, and items of one's own, with ids that are unique."""
    for cascade in MADE:
        views = labelled_views(cascade, history[0], simple_ranker())
        assert set(views) >= {"none", "right", "own"}
        for view in views.values():
            assert len({item.id for item in view.items}) == len(view.items)
