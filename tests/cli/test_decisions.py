"""How decisions are shown: label, p, name, place and reasons, however narrow the terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from cascade.cli.candidates import Places
from cascade.cli.decisions import show_decisions
from cascade.cli.output import plain
from cascade.cli.ranking import p_leading, ranked
from cascade.config.schema import read_config, shipped_config
from cascade.items import Group, Item
from cascade.report import Decision, Provenance, Status, Step
from tests.helpers.checkout import Checkout
from tests.helpers.terminal import on_terminal

CASCADES = read_config(shipped_config()).cascades()
SHOP = '''
class Basket:
    """What a customer wants to buy."""

    def total_price(self, prices: dict[str, float], discount: float = 0.0) -> float:
        """Price of the whole basket, the discount of the customer taken off."""
        return sum(prices.values()) * (1 - discount)
'''

RECEIPT = '''
"""Receipts."""


def print_receipt(basket, prices, discount):
    return str(basket.total_price(prices, discount))
'''
PROVENANCE = Provenance(model="m", adapters={}, prompt_format="embedded", label_tokens=(0, 1))
ODD_NAMES = (
    "\u90e8\u54c1\u306e\u5024\u6bb5",  # wide
    "e\u0301te\u0301",  # combining
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # joined by signs of no width
    "\u05e9\u05dc\u05d5\u05dd",  # right to left
    "\u202eevil\u202c",  # turned round
    "a\x1b[31mred\x07\nb\tc",  # controls
    "caf\udce9",  # no UTF-8
    "zero\u200bwidth",
)


def step(stage: str, p_yes: float, *, answer: bool, tier: str = "") -> Step:
    """An answer."""
    return Step(stage=stage, tier=tier, adapter=stage, p_yes=p_yes, threshold=0.5, answer=answer)


STEPS = (
    step("relevant", 0.83, answer=True),
    step("primary", 0.21, answer=False),
    step("supporting", 0.98, answer=True),
)


def decision(item_id: str, label: str = "type_context", steps: Sequence[Step] = STEPS) -> Decision:
    """A decision that was reached."""
    return Decision(id=item_id, label=label, status=Status.DECIDED, steps=tuple(steps), provenance=PROVENANCE)


def shown(
    width: int, *found: tuple[Decision, Item], cascade: str = "precision", places: Places | None = None
) -> list[str]:
    """The lines of a table of decisions."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    items = {item.id: item for _, item in found}
    show_decisions(console, [entry for entry, _ in found], CASCADES[cascade], items, places)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def symbol(name: str = "Basket.apply_discount", path: str = "src/shop/basket.py") -> Item:
    """A symbol of a repository."""
    evidence = ("size1", "match9", "covers5", "rank1", "name discount", "of basket")
    return Item(id=f"{path}::{name}", kind="method", name=name, group=Group(name=path), evidence=evidence)


def test_a_wide_terminal_has_a_line_for_each_decision() -> None:
    """Label, p, name, place and answers, where no reasons are at hand."""
    item = symbol()
    head, row = shown(140, (decision(item.id), item))
    assert head.split() == ["label", "p", "name", "where", "why"]
    answers = "relevant yes 0.83  primary no 0.21  supporting yes 0.98"
    assert row == f"type_context  0.17  Basket.apply_discount  src/shop/basket.py  {answers}"


def test_no_line_ends_in_spaces() -> None:
    """At any width, so that a pipe gets no more than there is."""
    for width in (30, 60, 80, 1_000):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        items = [symbol(), symbol("f", "g.py")]
        show_decisions(console, [decision(i.id) for i in items], CASCADES["precision"], {i.id: i for i in items})
        assert isinstance(console.file, io.StringIO)
        assert not re.search(r" $", console.file.getvalue(), re.MULTILINE)


def test_on_80_columns_places_and_answers_stand_below_names() -> None:
    """Label, p and name stand in one line."""
    item = symbol()
    assert shown(80, (decision(item.id), item))[1:] == [
        "type_context  0.17  Basket.apply_discount",
        "                    src/shop/basket.py",
        "                    relevant yes 0.83  primary no 0.21  supporting yes 0.98",
    ]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 100, 120, 1_000])
def test_no_width_breaks_a_part(width: int) -> None:
    """A label, and a name, file or answer that a line can hold, stands in one piece, and no line is longer."""
    item = symbol()
    lines = shown(width, (decision(item.id), item))
    for part in ("type_context", item.name, "src/shop/basket.py", "relevant yes 0.83", "primary no 0.21"):
        assert any(part in line for line in lines), part
    assert max(cell_len(line) for line in lines) <= width


@pytest.mark.parametrize("width", [40, 80, 160])
def test_odd_names_keep_the_columns(width: int) -> None:
    """Wide, combining, joined, turned and control signs end no line early and move no column."""
    items = [Item(id=str(at), kind="item", name=name) for at, name in enumerate(ODD_NAMES)]
    lines = shown(width, *((decision(item.id, "primary"), item) for item in items))
    starts = {line.index("primary") for line in lines if line.startswith("primary")}
    assert starts == {0}
    rows = [line for line in lines if re.search(r"relevant yes 0\.83", line)]
    assert len(rows) == len(ODD_NAMES)
    assert len({cell_len(line[: line.index("relevant")]) for line in rows}) == 1
    assert all(sign.isprintable() for line in lines for sign in line)
    for name in ODD_NAMES:
        assert any(plain(name) in line for line in lines)


def test_an_id_is_shown_where_it_says_more_than_the_name() -> None:
    """Two items of one name are told apart; an id made of file and name is not said twice."""
    own = Item(id="10", kind="item", name="print_receipt")
    _, row = shown(120, (decision("10"), own))
    assert "print_receipt  id 10  relevant yes" in row
    assert not any("::" in line or " id " in line for line in shown(120, (decision(symbol().id), symbol())))


def test_a_label_that_was_not_decided_says_why() -> None:
    """The status stands with the answers, with the probability of the label."""
    item = symbol()
    cut = Decision(
        id=item.id, label="primary", status=Status.DEPTH_CAP, steps=STEPS[:1], provenance=PROVENANCE, p_label=0.625
    )
    _, row = shown(120, (cut, item))
    assert "relevant yes 0.83  depth_cap, p(label) 0.62" in row


def test_tiers_are_named() -> None:
    """In a cascade with one stage that asks by tier, the tier names the question."""
    item = Item(id="a.py", kind="file", name="a.py")
    found = decision("a.py", "relevant", [step("relevant", 0.7, answer=True, tier="dependency")])
    assert "dependency yes 0.70" in shown(80, (found, item), cascade="scope")[1]


def test_p_leads_to_the_first_label_that_is_kept() -> None:
    """It is the product of the answers on the way to it; a question that was not asked counts as even."""
    precision = CASCADES["precision"]
    assert p_leading(decision("1", "supporting"), precision) == pytest.approx(0.83 * 0.21)
    assert p_leading(decision("1", "excluded", [step("relevant", 0.1, answer=False)]), precision) == pytest.approx(0.05)
    assert precision.prior_stage is not None
    settled = decision("1", "excluded", [step(precision.prior_stage.name, 0.02, answer=False)])
    assert p_leading(settled, precision) == pytest.approx(0.01)
    assert p_leading(decision("1", "supporting"), precision, 0.5) == pytest.approx(0.5 * 0.21)


def test_one_order_by_one_scale() -> None:
    """The likeliest comes first whatever its label; what is dropped comes last, or is left out."""
    precision = CASCADES["precision"]
    found = [
        decision("dropped", "excluded", [step("relevant", 0.9, answer=False)]),
        decision("less", "primary", [step("relevant", 0.5, answer=True), step("primary", 0.5, answer=True)]),
        decision("more", "supporting", [step("relevant", 0.9, answer=True), step("primary", 0.4, answer=False)]),
    ]
    assert [
        one.id
        for one in ranked(found, precision, {one.id: Item(id=one.id, name="n") for one in found}, with_dropped=True)
    ] == ["more", "less", "dropped"]
    assert [
        one.id
        for one in ranked(found, precision, {one.id: Item(id=one.id, name="n") for one in found}, with_dropped=False)
    ] == ["more", "less"]


def test_reasons_stand_in_words(tmp_path: Path) -> None:
    """What the task names says so, with the file and the line; who calls what matches is named."""
    checkout = Checkout(tmp_path / "repo")
    checkout.write({"shop/basket.py": SHOP, "shop/receipt.py": RECEIPT})
    found = checkout.find("`total_price` ignores the discount of a voucher")
    places, items = Places(found), {item.id: item for item in found.symbol_items()}
    price = "shop/basket.py::Basket.total_price"
    assert places.where(price) == "shop/basket.py:5"
    assert places.lines(price) == (5, 7)
    assert places.why(price)[0] == "named in the task"
    lines = shown(400, (decision(price), items[price]), places=places)
    assert "shop/basket.py:5  named in the task; " in lines[1]
    assert any("mentions Basket.total_price" in reason for reason in places.why("shop/receipt.py::print_receipt"))


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_classify_on_a_terminal(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row shows its label beside the unbroken name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/basket.py").write_text(SHOP, encoding="utf-8")
    task = "the total price of the basket is wrong"
    arguments = ["classify", "--repo", str(tmp_path / "shop"), "--task", task, "--all"]
    code, out = on_terminal(columns, arguments)
    assert code == 0
    for name in ("Basket", "Basket.total_price"):
        assert re.search(
            rf"^(primary|supporting|type_context|excluded) +[\d.]+ +{re.escape(name)}\b", out, re.MULTILINE
        )
