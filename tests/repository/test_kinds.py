"""What a cascade asks about in a repository: folders, retrieval stages and pairs of files, with their evidence."""

from __future__ import annotations

import pytest

from cascade.evidence.facts import FACTS
from cascade.repository.kinds import MOST_PARTS, items_of
from cascade.tree import ItemKind
from tests.helpers.checkout import Checkout

SHOP = {
    "shop/__init__.py": "",
    "shop/cart.py": "from shop.price import rounded\n\n\ndef total(goods):\n    return rounded(goods)\n",
    "shop/price.py": "def rounded(goods):\n    return round(goods)\n",
    "web/view.py": "from shop.cart import total\n\n\ndef show(basket):\n    return total(basket)\n",
    "setup_tool.py": "def main():\n    pass\n",
}


@pytest.fixture
def shop(checkout: Checkout) -> Checkout:
    """A repository in which prices and carts were changed together."""
    checkout.init().commit(SHOP)
    checkout.commit({path: SHOP[path] + "# rounded\n" for path in ("shop/cart.py", "shop/price.py")})
    return checkout


def test_folders_are_told_by_the_best_of_their_files(shop: Checkout) -> None:
    """Each folder in which files lie is an item; the likeliest comes first, and names its files."""
    found = items_of(shop.find("show the basket in the view"), ItemKind.FOLDERS)
    assert found.items[0].name == "web"
    assert {item.name for item in found.items} == {"shop", "web", "."}
    web = found.items[0]
    assert (web.kind, web.signature) == ("folder", "view.py")
    assert {"file9", "size1", "rank1"} <= set(web.evidence)
    assert set(web.evidence) <= set(FACTS)
    assert "its text has 'basket', 'show'" in " ".join(found.reasons["web"])
    assert found.reasons["web"][0] == "1 file, the likeliest web/view.py"


def test_stages_are_told_by_what_they_find(shop: Checkout) -> None:
    """The three retrieval stages are the items; one that finds nothing says so."""
    seeded = items_of(shop.find("round the prices", "shop/cart.py"), ItemKind.STAGES)
    assert [item.name for item in seeded.items] == ["dependency", "co_change", "metadata"]
    dependency, co_change, _ = seeded.items
    assert set(dependency.signature.split()) == {"price.py", "view.py"}
    assert {"imports", "imported", "size2"} <= set(dependency.evidence)
    assert co_change.signature.split()[0] == "price.py"
    assert any(fact.startswith("together") for fact in co_change.evidence)
    assert all(item.doc for item in seeded.items)
    bare = items_of(shop.find("round the prices"), ItemKind.STAGES)
    assert bare.reasons["dependency"] == ["finds no file"]
    assert bare.items[0].evidence == ("matters0",)


def test_pairs_are_those_of_the_files_that_are_named(shop: Checkout) -> None:
    """Both orders of each pair, with what ties the two before the change."""
    found = items_of(shop.find("round", "shop/cart.py", "shop/price.py"), ItemKind.PAIRS)
    uses, used = found.items
    assert [item.name for item in found.items] == ["shop/cart.py -> shop/price.py", "shop/price.py -> shop/cart.py"]
    assert uses.signature == "total -> rounded"
    assert {"imports", "uses1", "beside", "together2"} <= set(uses.evidence)
    assert {"imported", "users1"} <= set(used.evidence)
    assert found.reasons[uses.id] == [
        "the first imports the second", "the first uses 1 name of the second", "changed together in 2 commits",
    ]  # fmt: skip
    assert found.messages == ["The parts are shop/cart.py, shop/price.py."]


def test_without_parts_the_likeliest_files_are_paired(shop: Checkout) -> None:
    """A note says which they are and how to name others; the seed that there is stays among them."""
    named = items_of(shop.find("round"), ItemKind.PAIRS)
    assert named.messages[0].startswith("The parts are the likeliest files: ")
    found = items_of(shop.find("round", "web/view.py"), ItemKind.PAIRS)
    assert len(found.items) == len(SHOP) * (len(SHOP) - 1) <= MOST_PARTS * (MOST_PARTS - 1)
    assert "Name those of the change with --from." in found.messages[0]
    n = len(SHOP) - 1
    told = (
        f"Pairs take two files or more, and web/view.py alone is named; the other parts are the likeliest {n} files: "
    )
    assert found.messages[0].startswith(told)


@pytest.mark.parametrize("kind", ItemKind)
def test_nothing_to_read_gives_no_item(checkout: Checkout, kind: ItemKind) -> None:
    """An empty folder yields no item of any kind, and no error."""
    assert items_of(checkout.find("round the prices"), kind).items == []


def test_one_file_makes_no_pair(checkout: Checkout) -> None:
    """The message says why there is none, and what to do."""
    found = items_of(checkout.write({"a.py": "x = 1\n"}).find("round"), ItemKind.PAIRS)
    assert found.items == []
    assert found.messages == [
        "There are no pairs: fewer than two files were read. Name the parts of the change with --from."
    ]
