"""Evidence for items of one's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cascade.evidence.facts import FACTS, PLAIN
from cascade.evidence.own import own_evidence
from cascade.items import Group, Item, Task
from cascade.profile import WITHOUT_SOURCE, Prior
from tests.helpers.ranker import simple_ranker

TASK = Task(text="Cart.total does not round: `round_price` is never called", seeds=("shop/price.py",))
CART, PRICE = Group(name="shop/cart.py"), Group(name="shop/price.py", evidence=("given",))
ITEMS = [
    Item(id="1", kind="method", name="Cart.total", text="def total(self):\n    return 'round'\n", group=CART),
    Item(id="2", kind="function", name="round_price", doc="Round a price.", group=PRICE),
    Item(id="3", kind="ticket", name="A customer cannot log in"),
    Item(id="4", kind="class", name="shop::Cart", group=CART),
    Item(id="5", kind="function", name="round_price", signature="(x: int) -> int"),
    Item(id="6", kind="method", name="Cart.total", evidence=("mine", "my own"), prior=0.25, priority=3.0, group=CART),
    Item(id="7", kind="file", name="shop/view.py"),
]  # fmt: skip


def made(items: list[Item]) -> list[Item]:
    """The items with their evidence."""
    return own_evidence(TASK, items, simple_ranker())


def test_items_keep_their_order_and_all_that_they_had() -> None:
    """Evidence, its share in a group and how likely each matters are all that comes to them."""
    found = made(ITEMS)
    assert [one.id for one in found] == [one.id for one in ITEMS]
    for one, given in zip(found, ITEMS, strict=True):
        assert (
            replace(one, evidence=given.evidence, group=given.group, prior=given.prior, priority=given.priority)
            == given
        )
        assert (one.group and one.group.name) == (given.group and given.group.name)
    assert all(set(one.evidence) <= set(FACTS) for one in found if one.id != "6")
    assert [one.id for one in found if one.prior is not None] == ["1", "6"], "without source a question is asked"
    assert all(0 < one.prior < 1 for one in found if one.prior is not None)
    assert all(0 < one.priority < 1 for one in found if one.id != "6")


def test_an_item_with_evidence_stays_as_it_is() -> None:
    """To the last field, and so does a group that brings evidence."""
    found = {one.id: one for one in made(ITEMS)}
    assert found["6"] == ITEMS[5]
    assert found["2"].group == PRICE
    assert found["1"].group is not None
    assert found["1"].group == found["4"].group
    assert found["3"].group is None


def test_names_are_read_in_any_spelling() -> None:
    """Owners by dots or colons; two items of one name are told as twins."""
    found = {one.id: set(one.evidence) for one in made(ITEMS)}
    assert {"spelled", "owned"} <= found["1"]
    assert "bodiless" not in found["1"]
    assert {"bodiless", "twins2"} <= found["5"]
    assert any(fact.startswith("named") for fact in found["4"])


def test_what_matches_is_likelier() -> None:
    """The prior follows the ranker, whatever the order of the items."""
    for items in (ITEMS, ITEMS[::-1]):
        found = {one.id: one for one in made(items)}
        assert max(found["1"].prior or 0, found["2"].prior or 0) > (found["3"].prior or 0)
    assert made(ITEMS) == made(ITEMS[::-1])[::-1]


def test_the_order_of_equals_changes_nothing() -> None:
    """Items that match a task equally well rank as they do in any other order, to the last bit."""
    names = ("read_config", "open_socket", "read_file", "config_file", "file_read")
    items = [Item(id=name, kind="function", name=name) for name in names]
    task = Task(text="read the config file")
    found = [own_evidence(task, order) for order in (items, items[::-1], items[2:] + items[:2])]
    assert found[0] == found[1][::-1] == found[2][3:] + found[2][:3]


@pytest.mark.parametrize(
    "items", [[], [ITEMS[2]], [ITEMS[5]], [Item(id="1", name="?!")], [Item(id="1", name="\ud800")]]
)
def test_few_items_are_no_error(items: list[Item]) -> None:
    """None, one that matches nothing, one with evidence, and one without a word."""
    assert [one.id for one in made(items)] == [one.id for one in items]
    assert own_evidence(Task(text="?"), items, simple_ranker())[:0] == []


def test_a_prior_of_checkouts_leaves_items_without_source_to_the_model() -> None:
    """Their evidence means something else; a prior that was learned from such items knows them."""
    item = Item(id="1", name="parse", evidence=("body7", "bodiless"))
    assert Prior(bias=0.0, weights={"body7": 1.0}).knows(replace(item, evidence=("body7",)))
    assert not Prior(bias=0.0, weights={"body7": 1.0}).knows(item)
    assert Prior(bias=0.0, weights={"body7": 1.0, "bodiless": -1.0}).knows(item)
    assert WITHOUT_SOURCE in PLAIN
