"""How decisions are shown: label, p, name, place and reasons, however narrow the terminal."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from cascade.cli.decisions import show_decisions
from cascade.cli.explain import would_change
from cascade.cli.output import plain
from cascade.config.schema import read_config, shipped_config
from cascade.engine.ranking import p_leading, p_shown, ranked
from cascade.items import Group, Item
from cascade.report import Decision, Provenance, Status, Step
from cascade.repository.places import Places
from cascade.stages import ANY_TIER, Limits, Target
from cascade.tree import Cascade
from tests.helpers.checkout import Checkout
from tests.helpers.terminal import on_terminal
from tests.helpers.values import KINDS, tickets

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


def test_p_of_a_choice_is_that_of_its_own_label() -> None:
    """Each row shows the p of the ways to its label; rows stand by label and then by p, what is dropped last."""
    tree = tickets(least=0.3)

    def chosen(id_: str, label: str, *p: float) -> Decision:
        kinds = dict(zip(KINDS, p, strict=True))
        said = None if label == "review" else max(kinds, key=kinds.__getitem__)
        asked = Step(
            stage="kind", tier="", adapter="kinds", p_yes=math.nan, threshold=0.3, answer=said, probabilities=kinds,
            confidence=0.5,
        )  # fmt: skip
        return decision(id_, label, [asked])

    def at(**shares: float) -> list[float]:
        return [shares.get(name, 0.0) for name in KINDS]

    found = [
        chosen("nothing", "dropped", *at(none=0.7, wish=0.2, bug=0.1)),
        chosen("open", "review", *at(none=0.4, wish=0.35, bug=0.25)),
        chosen("soon", "soon", *at(none=0.1, wish=0.0, bug=0.9)),
        chosen("less", "wish", *at(none=0.1, wish=0.6, bug=0.3)),
        chosen("more", "wish", *at(none=0.1, wish=0.8, bug=0.1)),
    ]
    shares = {one.id: p_shown(one, tree) for one in found}
    assert shares == pytest.approx({"nothing": 0.7, "open": 0.4, "soon": 0.9 / 3, "less": 0.6, "more": 0.8})
    items = {one.id: Item(id=one.id, name="n") for one in found}
    assert [one.id for one in ranked(found, tree, items, with_dropped=True)] == [
        "more", "less", "soon", "open", "nothing",
    ]  # fmt: skip


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


def doubting() -> Cascade:
    """The precision cascade with a larger model for what the first stage leaves open, and a label for its doubts."""
    first, *others = CASCADES["precision"].stages
    limits = {ANY_TIER: Limits(0.2, 0.8)}
    large = replace(first, name="large", questions={ANY_TIER: replace(first.question(ANY_TIER), marker="large")})
    review, larger = Target("review", is_label=True), Target("large", is_label=False)
    return replace(
        CASCADES["precision"],
        labels=(*CASCADES["precision"].labels, "review"),
        stages=(
            replace(first.with_limits(limits), uncertain=larger),
            *others,
            replace(large.with_limits(limits), uncertain=review),
        ),
        prior_stage=None,
    )


def test_what_is_uncertain_looks_like_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its label has another colour, its answers are called uncertain, and the status stands behind them."""
    monkeypatch.setenv("NO_COLOR", "")
    item, tree = symbol(), doubting()
    steps = [replace(step(name, 0.5, answer=False), answer=None, no_below=0.2) for name in ("relevant", "large")]
    handed_on = replace(decision(item.id, "review", steps), status=Status.UNCERTAIN)
    console = Console(width=160, file=io.StringIO(), color_system=None)
    show_decisions(console, [handed_on], tree, {item.id: item})
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines()[1].endswith("relevant uncertain 0.50  large uncertain 0.50  uncertain")


def test_a_larger_models_answer_stands_in_place_of_the_smaller_ones() -> None:
    """Where it was asked: the order goes by what it says, and by the stages behind it, not by the doubt before."""
    tree = doubting()
    doubt = replace(step("relevant", 0.5, answer=False), answer=None, no_below=0.2)
    yes, no = step("large", 0.9, answer=True), step("large", 0.1, answer=False)
    found = [
        p_leading(decision("1", label, steps), tree)
        for label, steps in (
            ("primary", (doubt, yes, step("primary", 0.8, answer=True))),
            ("excluded", (doubt, no)),
            ("primary", (step("relevant", 0.9, answer=True), step("primary", 0.8, answer=True))),
        )
    ]
    assert found == pytest.approx([0.72, 0.05, 0.72])
    review = decision("2", "review", (doubt, replace(doubt, stage="large")))
    order = ranked(
        [decision("1", "excluded", (doubt, no)), review], tree, {name: symbol(name) for name in "12"}, with_dropped=True
    )
    assert [one.label for one in order] == ["review", "excluded"]


BETWEEN = "and between 0.200 and 0.800 it is uncertain"


@pytest.mark.parametrize(
    ("p", "answer", "words"),
    [
        (0.5, None, "is uncertain with p 0.500; a p below 0.200 says no, a p of at least 0.800 says yes"),
        (0.9, True, "says yes with p 0.900; a p below 0.200 says no, and between 0.200 and 0.800 it is uncertain"),
        (
            0.1,
            False,
            "says no with p 0.100; a p of at least 0.800 says yes, and between 0.200 and 0.800 it is uncertain",
        ),
    ],
)
def test_what_would_have_changed_an_answer_names_both_thresholds(p: float, answer: bool | None, words: str) -> None:  # noqa: FBT001 - a parameter of the test
    """Whichever of the three answers it is."""
    asked = Step(stage="s", tier="", adapter="a", p_yes=p, threshold=0.8, answer=answer, no_below=0.2)
    assert would_change(decision("1", steps=[asked]), 1) == [f"stage s {words}"]
