"""Files by tier: who finds them, their order and the cap."""

from __future__ import annotations

from cascade.repository.evidence import file_items, symbol_items
from cascade.repository.git import CoChanges
from cascade.repository.outline import Outline
from cascade.repository.tiers import MAX_FILES, Ties, match_words, rank_files
from tests.helpers.checkout import Checkout

PLAIN = {f"plain{number}.py": Outline() for number in range(20)}


def test_words_of_paths_and_names_match() -> None:
    """Stems meet, the path counts more than a name, and the words come back as the task writes them."""
    files = PLAIN | {
        "session.py": Outline(), "views.py": Outline(tops=("SessionLoader", "x")), "redirect.py": Outline(tops=("go",)),
    }  # fmt: skip
    match = match_words("Fix loading of Sessions after redirects", files)
    assert match.hits == {
        "session.py": ("sessions",),
        "views.py": ("loading", "sessions"),
        "redirect.py": ("redirects",),
    }
    assert match.scores["session.py"] > match_words("session", files).scores["views.py"]


def test_word_of_most_files_tells_nothing() -> None:
    """The package's own name finds no file."""
    files = {f"flask/{name}.py": Outline() for name in "abcdefgh"}
    assert match_words("flask", files).scores == {}


def test_tiers_take_turns_up_to_the_cap() -> None:
    """Each tier gives its best in turn, co-change and metadata at most fifteen."""
    dependency = [f"dep{number:02}.py" for number in range(50)]
    together = {f"co{number:02}.py": 100 - number for number in range(20)}
    files = dict.fromkeys([*dependency, *together, *(f"widget/{chr(97 + n)}.py" for n in range(20))], Outline()) | PLAIN
    ties = Ties(imported=frozenset(dependency), together=CoChanges(counts=together, seed_changes=120))
    records = rank_files("a widget", files, ties)
    tiers = [record.tiers for record in records]
    assert len(records) == MAX_FILES
    assert tiers.count(("dependency",)) == 14
    assert {tiers.count(("co_change",)), tiers.count(("metadata",))} == {13}
    assert [record.path for record in records[:2]] == ["co00.py", "dep00.py"]
    assert {record.seed_changes for record in records} == {120}


def test_record_of_a_file_lists_public_names_first() -> None:
    """At most twelve top-level names, those with an underscore last."""
    files = PLAIN | {"widget.py": Outline(doc="Widgets.", tops=("_a", *(f"f{number}" for number in range(20)), "_b"))}
    (record,) = rank_files("widget", files, Ties())
    assert (record.doc, record.symbols) == ("Widgets.", tuple(f"f{number}" for number in range(12)))
    assert record.tiers == ("metadata",)


def test_history_of_files_that_are_gone_is_left_out() -> None:
    """Only files of today are candidates."""
    ties = Ties(together=CoChanges(counts={"gone.py": 9, "plain1.py": 1}, seed_changes=9))
    assert [record.path for record in rank_files("x", PLAIN, ties)] == ["plain1.py"]


def test_without_seeds_only_words_find_files(checkout: Checkout) -> None:
    """No seed is guessed, and a message says what is missing."""
    checkout.init()
    for number in range(2):
        checkout.commit({"widget.py": f"import other\na = {number}", "other.py": f"{number}"})
    result = checkout.find("widget")
    assert [(record.path, record.tiers) for record in result.files] == [("widget.py", ("metadata",))]
    assert any("Without seed files" in message for message in result.messages)


def test_symbols_come_from_the_best_files(checkout: Checkout) -> None:
    """A large repository gives the seeds and the strongest files, a small one everything."""
    checkout.write({f"part{number}.py": f"def f{number}(): ..." for number in range(6)})
    checkout.write({"seed.py": "import part3, part4\ndef s(): ...", "widget.py": "def w(): ..."})
    few = checkout.find("the widget", "seed.py", max_files=2)
    assert [symbol.id for symbol in few.symbols] == ["seed.py::s", "part3.py::f3", "part4.py::f4"]
    every = checkout.find("the widget", "seed.py", max_files=8)
    assert {symbol.path for symbol in every.symbols} == {"seed.py", "widget.py", *(f"part{n}.py" for n in range(6))}


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
    files = {item.id: item for item in file_items(result.task, result.files)}
    symbols = {item.id: item for item in symbol_items(result.task, result.symbols, result.files)}
    assert set(files) == {"shop/price.py", "shop/view.py"}
    assert files["shop/price.py"].tiers == ("dependency", "co_change", "metadata")
    assert files["shop/price.py"].evidence[:4] == ("imported", "together2", "ratio9", "hits1")
    assert {"imports", "never2", "beside"} <= set(files["shop/view.py"].evidence)
    assert {"spelled", "owner named"} <= set(symbols["shop/cart.py::Cart.total"].evidence)
    assert "name rounded" in symbols["shop/price.py::Price.rounded"].evidence
    groups = {item.group.name: item.group.evidence for item in symbols.values() if item.group}
    assert groups["shop/cart.py"][0] == "seed"
    assert groups["shop/price.py"][:3] == ("imported", "together2", "ratio9")
