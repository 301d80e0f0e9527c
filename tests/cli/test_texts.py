"""Commands with a cascade whose second stage reads the source of a repository's symbols."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from tests.helpers.checkout import Checkout
from tests.helpers.shipped import shipped_text

pytestmark = pytest.mark.slow

SHOP = {
    "shop/basket.py": "class Basket:\n    def total_price(self, prices, discount):\n"
    + "        prices = [price for price in prices if price]\n" * 9
    + "        return sum(prices) * (1 - discount)\n\n\ndef run():\n    return 1\n",
}


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small repository, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Checkout(tmp_path / "shop").init().commit(SHOP)
    return str(tmp_path / "shop")


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The shipped questions; nearly all pass the first, and the second reads 30 tokens of the text."""
    text = re.sub(r'(adapter = "relevant"\nthreshold = )[\d.]+', r"\g<1>0.000001", shipped_text(profile=False))
    path = tmp_path / "reads.toml"
    path.write_text(text.replace('name = "primary"\n', 'name = "primary"\nreads = "text"\nmax_text_tokens = 30\n'))
    return str(path)


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    assert main(arguments) == ExitCode.DONE
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_survivors_are_asked_with_their_source(shop: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As many texts are read as symbols pass the first stage; a note says that of long ones the beginning is read."""
    asked = ("--repo", shop, "--task", "total_price ignores the discount", "--json")
    found, err = _json(capsys, "classify", *asked, "--config", config, "--all")
    n_deep = sum(len(decision["steps"]) > 1 for decision in found["decisions"])
    stats = found["stats"]
    assert n_deep == stats["texts_read"] == 3
    assert 0 < stats["texts_cut"] < 3
    assert f"the beginning of the text of {stats['texts_cut']} candidates" in err
    (row,) = _json(capsys, "explain", "total_price", *asked, "--config", config)[0]["symbols"]
    (decision,) = [one for one in found["decisions"] if one["id"] == row["id"]]
    p_yes = [step["p_yes"] for step in decision["steps"]]
    assert [step["p_yes"] for step in row["steps"]] == pytest.approx(p_yes, abs=1e-3)
    other, _ = _json(capsys, "classify", *asked, "--all")
    assert other["stats"]["texts_read"] == 0


def test_what_a_stage_reads_is_shown(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The drawing of a cascade and its JSON form say which stages read the text, and how much of it."""
    assert main(["config", "show", "precision", "--config", config]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert out.count("tokens of the text") == 1
    assert "reads 30 tokens of the text" in " ".join(out.split())
    found, _ = _json(capsys, "config", "show", "precision", "--config", config, "--json")
    assert [stage["questions"][0].get("reads") for stage in found["stages"]] == [None, "text", None]
