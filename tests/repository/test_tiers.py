"""Files by tier: who finds them, their order and the cap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cascade.evidence.records import FileRecord
from cascade.evidence.ties import Ties
from cascade.repository.outline import Outline
from cascade.repository.tiers import MAX_FILES, rank_files
from tests.helpers.checkout import Checkout

PLAIN = {f"plain{number}.py": Outline() for number in range(20)}


def ranked(files: Mapping[str, Outline], matches: Mapping[str, float], ties: Ties) -> list[FileRecord]:
    """Files by tier, where the words of some match the task."""
    words = np.array([matches.get(path, 0.0) for path in files])
    signals = dict.fromkeys(("words_share", "top_share", "path_share", "history_share"), words)
    return rank_files(tuple(files), signals, ties, files)


def test_words_find_files(checkout: Checkout) -> None:
    """Stems meet, and the words of a path count beside those of the file."""
    checkout.write(dict.fromkeys(PLAIN, "x = 1\n"))
    checkout.write({
        "session.py": "x = 1\n",
        "views.py": "class SessionLoader:\n    def load(self): ...\n",
        "redirect.py": "def go(): ...\n",
    })  # fmt: skip
    found = checkout.find("Fix loading of Sessions after redirects").files
    assert [record.path for record in found] == ["views.py", "redirect.py", "session.py"]
    assert {record.tiers for record in found} == {("metadata",)}


def test_tiers_take_turns_up_to_the_cap() -> None:
    """Each tier gives its best in turn, co-change and metadata at most fifteen."""
    dependency = [f"dep{number:02}.py" for number in range(50)]
    together = {f"co{number:02}.py": 100 - number for number in range(20)}
    words = {f"widget/{chr(97 + number)}.py": 0.9 for number in range(20)}
    files = dict.fromkeys([*dependency, *together, *words], Outline()) | PLAIN
    records = ranked(files, words, Ties(imported=frozenset(dependency), together=together, seed_changes=120))
    tiers = [record.tiers for record in records]
    assert len(records) == MAX_FILES
    assert tiers.count(("dependency",)) == 14
    assert {tiers.count(("co_change",)), tiers.count(("metadata",))} == {13}
    assert [record.path for record in records[:2]] == ["co00.py", "dep00.py"]
    assert {record.seed_changes for record in records} == {120}


def test_record_of_a_file_lists_public_names_first() -> None:
    """At most twelve top-level names, those with an underscore last."""
    files = PLAIN | {"widget.py": Outline(doc="Widgets.", tops=("_a", *(f"f{number}" for number in range(20)), "_b"))}
    (record,) = ranked(files, {"widget.py": 1.0}, Ties())
    assert (record.doc, record.symbols) == ("Widgets.", tuple(f"f{number}" for number in range(12)))
    assert record.tiers == ("metadata",)


def test_a_seed_is_no_candidate() -> None:
    """However well it matches; what is tied to it in both ways says so."""
    ties = Ties(
        seeds=("plain0.py",), imported=frozenset({"plain1.py"}), importers=frozenset({"plain1.py"}),
        together={"plain0.py": 3, "plain1.py": 2}, seed_changes=4,
    )  # fmt: skip
    (record,) = ranked(PLAIN, {"plain0.py": 1.0, "plain1.py": 0.1}, ties)
    assert record == FileRecord(
        path="plain1.py", tiers=("dependency", "co_change", "metadata"), imports_seed=True, imported_by_seed=True,
        co_changes=2, seed_changes=4,
    )  # fmt: skip
    assert record.co_change_ratio == 0.5


def test_history_of_files_that_are_gone_is_left_out() -> None:
    """Only files of today are candidates."""
    ties = Ties(together={"gone.py": 9, "plain1.py": 1}, seed_changes=9)
    assert [record.path for record in ranked(PLAIN, {}, ties)] == ["plain1.py"]


def test_without_seeds_only_words_find_files(checkout: Checkout) -> None:
    """No seed is guessed: what imports a file that matches is none of the candidates."""
    checkout.init()
    for number in range(2):
        checkout.commit({"widget.py": f"import other\na = {number}", "other.py": f"{number}"})
    result = checkout.find("widget")
    assert [(record.path, record.tiers) for record in result.files] == [("widget.py", ("metadata",))]
    assert result.task.seeds == ()


def test_evidence_reads_as_in_training(checkout: Checkout) -> None:
    """Candidates of a small history become items with the words that the adapters know."""
    checkout.init()
    checkout.commit({f"shop/plain{number}.py": "" for number in range(6)} | {"shop/__init__.py": ""})
    for number in range(4):
        checkout.commit({
            "shop/cart.py": f"from shop.price import Price\nclass Cart:\n    def total(self): return {number}\n",
            "shop/price.py": f"class Price:\n    'A price.'\n    def rounded(self, digits): return {number}\n",
        })  # fmt: skip
    checkout.commit({"shop/view.py": "from shop.cart import Cart\ndef show_price(cart: Cart): ...\n"})
    result = checkout.find("Prices are not rounded in Cart.total", "shop/cart.py")
    files = {item.id: item for item in result.file_items()}
    symbols = {item.id: item for item in result.symbol_items()}
    assert set(files) == {"shop/price.py", "shop/view.py"}
    assert files["shop/price.py"].tiers == ("dependency", "co_change", "metadata")
    assert {"imported", "together3", "ratio9", "beside"} <= set(files["shop/price.py"].evidence)
    assert {"imports", "never3", "beside"} <= set(files["shop/view.py"].evidence)
    assert {"spelled", "owned", "named9"} <= set(symbols["shop/cart.py::Cart.total"].evidence)
    assert "named9" in symbols["shop/price.py::Price.rounded"].evidence
    assert "spelled" not in symbols["shop/price.py::Price.rounded"].evidence
    groups = {item.group.name: item.group.evidence for item in symbols.values() if item.group}
    assert groups["shop/cart.py"][0] == "seed"
    assert {"imported", "together3", "ratio9"} <= set(groups["shop/price.py"])
    assert "apart" not in groups["shop/price.py"]
