"""Tables of the command line: no word is lost or broken, however narrow the terminal."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from cascade.cli.output import plain
from cascade.cli.tables import Sheet, show_decisions
from cascade.config.schema import read_config, shipped_config
from cascade.items import Group, Item
from cascade.report import Decision, Provenance, Status, Step
from tests.helpers.terminal import on_terminal

CASCADES = read_config(shipped_config()).cascades()
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


def shown(width: int, *found: tuple[Decision, Item], cascade: str = "precision") -> list[str]:
    """The lines of a table of decisions."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    items = {item.id: item for _, item in found}
    show_decisions(console, [entry for entry, _ in found], CASCADES[cascade], items)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def symbol(name: str = "Basket.apply_discount", path: str = "src/shop/basket.py") -> Item:
    """A symbol of a repository."""
    evidence = ("size1", "match9", "covers5", "rank1", "name discount", "of basket")
    return Item(id=f"{path}::{name}", kind="method", name=name, group=Group(name=path), evidence=evidence)


def test_a_wide_terminal_has_a_line_for_each_decision() -> None:
    """Label, name, file, each answer with its p, and of the evidence the facts for which there is room."""
    item = symbol()
    head, row = shown(140, (decision(item.id), item))
    assert head.split("  ")[0] == "label"
    answers = "relevant yes 0.83  primary no 0.21  supporting yes 0.98"
    assert row.startswith(f"type_context  Basket.apply_discount  src/shop/basket.py  {answers}  size1  match9")
    assert len(row) <= 140
    assert "rank1" not in row


def test_evidence_that_has_no_room_is_told_of() -> None:
    """Whether all of it is shown comes back; items without any lack none."""
    item, bare = symbol(), Item(id="1", name="plain")
    for width, is_whole in ((80, False), (140, False), (1_000, True)):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        assert show_decisions(console, [decision(item.id)], CASCADES["precision"], {item.id: item}) is is_whole
        assert show_decisions(console, [decision("1")], CASCADES["precision"], {"1": bare})


def test_heads_are_whole_above_short_cells() -> None:
    """A label or evidence that is shorter than its head does not break it."""
    item = Item(id="1", name="plain", evidence=("a",))
    for width, heads in ((1_000, ["label", "evidence"]), (60, ["label", "answers"]), (36, ["label", "name"])):
        head = " ".join(shown(width, (decision("1", "yes"), item)))
        assert all(re.search(rf"\b{word}\b", head) for word in heads), head


def test_no_line_ends_in_spaces() -> None:
    """Neither of decisions nor of figures, at any width, so that a pipe gets no more than there is."""
    for width in (30, 60, 80, 1_000):
        console = Console(width=width, file=io.StringIO(), color_system=None)
        items = [symbol(), symbol("f", "g.py")]
        show_decisions(console, [decision(i.id) for i in items], CASCADES["precision"], {i.id: i for i in items})
        found = Sheet(("item",), ("n",), ("task",))
        found.add("class Flask", "1", "make the debugger reload templates when they have changed on disk")
        found.add("f", "12", "short")
        found.show(console)
        assert isinstance(console.file, io.StringIO)
        assert not re.search(r" $", console.file.getvalue(), re.MULTILINE)


def test_a_pipe_has_all_of_it() -> None:
    """With as much room as a pipe gives, no fact is left out."""
    item = symbol()
    _, row = shown(1_000, (decision(item.id), item))
    assert row.endswith("size1  match9  covers5  rank1  name discount  of basket")


def test_on_80_columns_files_stand_below_names() -> None:
    """Label and name stand in one line, with the answers beside them."""
    item = symbol()
    lines = shown(80, (decision(item.id), item))
    assert lines[1:] == [
        "type_context  Basket.apply_discount  relevant yes 0.83  primary no 0.21",
        "              src/shop/basket.py     supporting yes 0.98",
    ]


def test_long_names_stand_above_their_answers() -> None:
    """Where a name leaves no room beside it, answers stand below it."""
    item = symbol(name="TheNameOfAClassThatIsLong.and_a_method_of_it_as_well")
    lines = shown(80, (decision(item.id), item))
    assert lines[1:] == [
        f"type_context  {item.name}",
        "              src/shop/basket.py",
        "              relevant yes 0.83  primary no 0.21  supporting yes 0.98",
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


def sheet(width: int, found: Sheet) -> list[str]:
    """The lines of a table of figures."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    found.show(console)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def figures() -> Sheet:
    """A table that takes 42 cells with its heads in one line, and 31 at least."""
    found = Sheet(("question",), ("base rate of all", "error"))
    found.add("relevant", "12.5%", "8.5% (6 to 11)")
    return found


def test_heads_are_broken_before_columns_are_given_up() -> None:
    """In one line if there is room, between words if there is less; cells are never broken."""
    assert sheet(60, figures()) == [
        "question  base rate of all           error",
        "relevant             12.5%  8.5% (6 to 11)",
    ]
    assert sheet(36, figures()) == [
        "           base rate",
        "question      of all           error",
        "relevant       12.5%  8.5% (6 to 11)",
    ]


def test_rows_become_lines_where_columns_do_not_fit() -> None:
    """Every head stands before its cell, and what follows the first line is set in."""
    assert sheet(28, figures()) == ["question relevant", "  base rate of all 12.5%", "  error 8.5% (6 to 11)"]


def test_sentences_share_what_is_left() -> None:
    """They are broken between words; where even that leaves too little, rows become lines."""
    found = Sheet(("item",), sentences=("task",))
    found.add("class Flask", "make the debugger reload templates when they have changed on disk")
    assert sheet(60, found)[1:] == [
        "class Flask  make the debugger reload templates when they",
        "             have changed on disk",
    ]
    assert sheet(34, found)[:2] == ["item class Flask", "  task make the debugger reload"]


def test_a_sheet_writes_nothing_that_a_terminal_acts_on() -> None:
    """Controls in names, which come from config and data files, are taken out."""
    found = Sheet(("stage\x1b[31m",), ("n",))
    found.add("a\x1b]0;title\x07b", "1")
    assert all(sign.isprintable() for line in sheet(40, found) for sign in line)


SHOP = '''
class Basket:
    """What a customer wants to buy."""

    def total_price(self, prices: dict[str, float], discount: float = 0.0) -> float:
        """Price of the whole basket, the discount of the customer taken off."""
        return sum(prices.values()) * (1 - discount)
'''


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 100, 120])
def test_classify_on_a_terminal(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row shows its label beside the unbroken name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/basket.py").write_text(SHOP, encoding="utf-8")
    arguments = ["classify", "--repo", str(tmp_path / "shop"), "--task", "the total price of the basket is wrong"]
    code, out = on_terminal(columns, arguments)
    assert code == 0
    for name in ("Basket", "Basket.total_price"):
        assert re.search(rf"^(primary|supporting|type_context|excluded) +{re.escape(name)} ", out, re.MULTILINE)


@pytest.mark.slow
def test_the_doctors_long_values_are_whole(tmp_path: Path) -> None:
    """A path that is longer than the terminal is broken, but nothing of it is left out."""
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    (folder / "c.toml").write_text("", encoding="utf-8")
    code, out = on_terminal(80, ["doctor", "--config", str(folder / "c.toml")])
    assert code == 1
    assert str(folder / "c.toml") in re.sub(r"\s+", "", out)
    assert "\u2026" not in out


@pytest.mark.slow
def test_json_is_the_same_on_a_terminal() -> None:
    """Its lines are not broken."""
    code, out = on_terminal(40, ["config", "show", "precision", "--json"])
    assert code == 0
    assert json.loads(out)["name"] == "precision"
