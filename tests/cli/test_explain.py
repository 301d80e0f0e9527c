"""``cascade explain`` with the shipped model, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from tests.helpers.checkout import Checkout
from tests.helpers.terminal import on_terminal

pytestmark = pytest.mark.slow

SHOP = {
    "shop/basket.py": """class Basket:
    def total_price(self, prices, discount):
        return sum(prices) * (1 - discount)


def run():
    return 1
""",
    "shop/engine.py": """class Engine:
    def run(self, discount):
        return discount
""",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small repository, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Checkout(tmp_path / "shop").init().commit(SHOP)
    return str(tmp_path / "shop")


def test_all_that_is_known_of_a_symbol_is_shown(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Place, reasons, evidence, each stage with its threshold, and what would have changed the answer."""
    asked = ["explain", "total_price", "--repo", shop, "--task", "`Basket.total_price` ignores the discount"]
    assert main(asked) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("shop/basket.py::Basket.total_price  (method, shop/basket.py:2)\nlabel ")
    assert "place 1 of 5 before any question" in shown
    assert "named in the task" in shown
    assert main([*asked, "--json"]) == ExitCode.DONE
    (row,) = json.loads(capsys.readouterr().out)["symbols"]
    assert row["order"] == {"place": 1, "of": 5, "is_candidate": True}
    assert "spelled" in row["evidence"]
    assert len(row["would_change"]) == len(row["steps"]) > 0
    assert all(f"{step['threshold']:.3f}" in text for step, text in zip(row["steps"], row["would_change"], strict=True))


def test_a_name_that_fits_several_shows_the_likeliest_first(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A method and a function of one name are both shown."""
    assert (
        main(["explain", "run", "--repo", shop, "--task", "Engine.run ignores the discount", "--json"]) == ExitCode.DONE
    )
    found = [row["id"] for row in json.loads(capsys.readouterr().out)["symbols"]]
    assert found == ["shop/engine.py::Engine.run", "shop/basket.py::run"]


@pytest.mark.parametrize("name", ["shop.engine.Engine.run", "engine.Engine.run()", "shop/engine.py::Engine.run"])
def test_a_symbol_may_be_named_with_its_module(shop: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a task writes it, with brackets or without."""
    assert main(["explain", name, "--repo", shop, "--task", "the discount", "--json"]) == ExitCode.DONE
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["symbols"]] == ["shop/engine.py::Engine.run"]


def test_a_cascade_that_labels_no_symbols_is_refused(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be asked about what it was not made for."""
    given = ["explain", "run", "--repo", shop, "--task", "the discount", "--cascade", "routing"]
    assert main(given) == ExitCode.BAD_INPUT
    assert "Cascade 'routing' labels" in capsys.readouterr().err


def test_files_take_no_number_of_symbols(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would change nothing, and is refused."""
    given = ["classify", "--repo", shop, "--task", "the discount", "--files", "--most", "3"]
    assert main(given) == ExitCode.BAD_INPUT
    assert "--most 3 is about symbols" in capsys.readouterr().err


def test_a_name_that_was_not_read_is_refused(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names what is close to it."""
    assert main(["explain", "Basket.total_prise", "--repo", shop, "--task", "the discount"]) == ExitCode.BAD_INPUT
    assert "Close to it are Basket.total_price" in capsys.readouterr().err


def test_a_task_that_nothing_fits_is_told(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An order that goes by form alone says so."""
    assert main(["classify", "--repo", shop, "--task", "zzqx", "--json"]) == ExitCode.DONE
    assert "No telling word of the task stands in anything that was read" in capsys.readouterr().err


def test_files_that_the_work_starts_from_are_told_of(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are no candidates of --files, which a note says."""
    arguments = ["classify", "--repo", shop, "--task", "the discount", "--from", "shop/engine.py", "--files", "--json"]
    assert main(arguments) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert "are not labelled themselves: shop/engine.py" in err
    assert [decision["id"] for decision in json.loads(out)["decisions"]] == ["shop/basket.py"]


def test_long_lines_go_on_below_their_beginning(shop: str) -> None:
    """On a narrow terminal every line but the first of each part is indented; reasons more than their first lines."""
    asked = ["explain", "total_price", "--repo", shop, "--task", "`Basket.total_price` ignores the discount"]
    code, shown = on_terminal(40, asked)
    assert code == 0
    lines = shown.split("\n")
    assert max(map(len, lines)) <= 40
    begin = [line.split()[0] for line in lines if line[:1].strip() and not line.startswith("note:")]
    heads = ["shop/basket.py::Basket.total_price", "label", "why:", "what"]
    assert begin[: len(heads)] == heads
    assert begin[-2:] == ["evidence:", "evidence"]
    at = lines.index("what would change it:") + 1
    assert lines[at].startswith("  stage")
    assert lines[at + 1].startswith("    ")
