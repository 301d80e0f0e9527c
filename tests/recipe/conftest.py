"""A small history, mined once."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.recipe.mine import Mined, mine_history, read_mined
from adapters.recipe.parts import MinedParts, mine_parts, read_parts
from tests.helpers.checkout import Checkout

BEFORE = {
    "shop/__init__.py": "",
    "shop/cart.py": "from shop.price import rounded_price\n\n\ndef total(goods):\n    return rounded_price(goods)\n",
    "shop/price.py": "def rounded_price(goods):\n    return round(goods)\n",
    "web/view.py": "def show_basket(basket):\n    return basket\n",
    "tools/other.py": "def unrelated(x):\n    return x\n",
}
AFTER = {
    "shop/price.py": "def rounded_price(goods):\n    return round(goods, 2)\n",
    "web/view.py": "from shop.cart import total\n\n\ndef show_basket(basket):\n    return total(basket)\n",
}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mined, MinedParts]:
    """The last commit of a repository, mined as a task and as parts."""
    folder: Path = tmp_path_factory.mktemp("history")
    checkout = Checkout(folder / "repo").init().commit(BEFORE).write(AFTER)
    checkout.git("add", "-A")
    checkout.git("commit", "-q", "-m", "Show the rounded price of the basket")
    clone = folder / "repo" / ".git"
    mine_history(clone, "own__shop", folder / "mined" / "own__shop.pkl", 5)
    mine_parts(clone, folder / "mined" / "own__shop.pkl", folder / "parts" / "own__shop.pkl", 5)
    (mined,) = read_mined([folder / "mined" / "own__shop.pkl"])
    return mined, read_parts(folder / "parts" / "own__shop.pkl")
