"""``cascade dataset review``: what is worth a look, how it is shown, and how answers come back as outcomes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade import DecisionLog, Item, Outcome, Task
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.dataset.candidates import Candidate
from cascade.dataset.picking import Why, pick
from cascade.log.judged import JudgedDecision
from tests.dataset.logs import items_of, logged, told
from tests.helpers.browser import NAMES, find_browser, look
from tests.log.logs import rows_of, scripted

TASKS = [Task(text=f"task {at}") for at in range(20)]
REVIEW = ("dataset", "review", "--cascade", "precision", "--log")


def _says(adapter: str, prompt: str) -> float:
    """Sure of all items but those that are called near."""
    if adapter == "relevant":
        return 0.26 if "near" in prompt.rpartition("task ")[2] else 0.9
    return {"primary": 0.95, "supporting": 0.9}[adapter]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Twenty tasks of five items that all come to primary, one of them near a threshold."""
    path = tmp_path / "log.sqlite3"
    with DecisionLog(path, texts="full") as opened, scripted(opened, _says) as engine:
        for task in TASKS:
            engine.classify(task, [*items_of(4), Item(id="near", name="near", doc="Close by.")])
    return path


def _listed(capsys: pytest.CaptureFixture[str], log: Path, *more: object) -> dict[str, Any]:
    assert main([*REVIEW, str(log), "--json", *map(str, more)]) == ExitCode.DONE
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _answered(log: Path, *lines: str) -> str:
    """What is printed where somebody answers so."""
    command = [sys.executable, "-m", "cascade", *REVIEW, str(log), "--answer", "--by", "ann", "--most", "8"]
    given = "".join(f"{line}\n" for line in lines)
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def test_uncertain_and_wrong_items_come_first(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those near a threshold, those that were sure and are said to be wrong, and a share of all at random."""
    told(log, [Outcome(task=TASKS[0].id, item=f"item-{at}", label="excluded", source="commit") for at in range(2)])
    told(log, [Outcome(task=TASKS[1].id, item="item-0", label="primary", source="commit")])
    found = _listed(capsys, log, "--most", 12)
    whys = [one["why"] for one in found["picks"]]
    assert whys == ["random"] * 3 + ["wrong"] * 2 + ["uncertain"] * 7
    by_why = {why: [one for one in found["picks"] if one["why"] == why] for why in set(whys)}
    assert {one["item"] for one in by_why["uncertain"]} == {"near"}
    assert {(one["task"], one["label"], one["given"]) for one in by_why["wrong"]} == {
        (TASKS[0].id, "excluded", "primary")
    }
    assert by_why["uncertain"][0]["task_text"].startswith("task ")
    assert by_why["uncertain"][0]["details"]["doc"] == "Close by."
    assert by_why["uncertain"][0]["calls"][0]["stage"] == "relevant"
    assert found["items"] == 100
    assert found["p_drawn"] == len(found["drawn"]) / 100
    assert main([*REVIEW, str(log), "--most", "12"]) == ExitCode.DONE
    assert "12 items of 100 are worth a look" in capsys.readouterr().out


def test_answers_are_kept_as_outcomes(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is recorded at once, with who looked and which items were drawn; what was answered is not asked again."""
    shown = _answered(log, "2", "no", "excluded", "s", "q")
    assert "2 answers recorded" in shown
    assert re.search(r"2 items drawn at random, 2 of them labelled", shown)
    assert "of all items 50.0%" in shown
    outcomes = rows_of(log, "outcomes")
    assert [(row[4], row[5], row[7]) for row in outcomes if row[4] == "label"] == [
        ("label", "primary", "review:ann"), ("label", "excluded", "review:ann")
    ]  # fmt: skip
    assert [row[6] for row in outcomes if row[4] == "sampled"] == [0.02] * 2
    again = _listed(capsys, log, "--most", 8)
    assert not {(one["task"], one["item"]) for one in again["picks"]} & {(row[2], row[3]) for row in outcomes}
    assert {(row[2], row[3]) for row in outcomes} < {(one["task"], one["item"]) for one in again["drawn"]}


def test_a_built_card_has_the_rates(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was drawn at random and answered gives the card its rates, and answers are labels of the dataset."""
    _answered(log, "2", "excluded", "q")
    out = tmp_path / "set"
    build = ["dataset", "build", "--cascade", "precision", "--log", str(log), "--out", str(out), "--json"]
    assert main(build) == ExitCode.DONE
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["rates"]["drawn"], manifest["rates"]["labelled"]) == (2, 2)
    assert manifest["rates"]["wrong"]["value"] == 0.5
    assert manifest["label_sources"] == {"review:ann": 2}
    assert "given label is wrong | 50.0%" in (out / "card.md").read_text()


def test_the_random_share_is_fair() -> None:
    """Every item has the same chance, whatever is known of it, and a later draw holds all of an earlier one."""
    found = [
        Candidate(
            decision=JudgedDecision("r", 0.0, f"t{at % 50}", "", f"i{at}", "", "a", "decided", None, ()),
            label="b" if at % 4 == 0 else "",
            source="",
            is_reviewed=False,
            is_wrong=at % 4 == 0,
            sureness=float(at),
        )
        for at in range(2_000)
    ]
    few, many = pick(found, 40, 1.0), pick(found, 400, 1.0)
    assert few.drawn < many.drawn
    assert len(few.picks) == 40
    assert few.p == len(few.drawn) / 2_000
    labelled = [one for one in found if one.name in many.drawn and one.label]
    assert len(labelled) / len(many.drawn) == pytest.approx(0.25, abs=0.05)
    assert {one.why for one in many.picks} == {Why.RANDOM}
    assert not pick(found, 10, 0.0).drawn
    assert {one.why for one in pick(found, 10, 0.0, with_wrong=False).picks} == {Why.UNCERTAIN}


def test_one_task_does_not_take_all_places() -> None:
    """Of one task three items come before others have had their turn."""
    found = [
        Candidate(
            decision=JudgedDecision("r", 0.0, task, "", f"i{at}", "", "a", "decided", None, ()),
            label="",
            source="",
            is_reviewed=False,
            is_wrong=False,
            sureness=far + at,
        )
        for task, far in (("hard", 0.0), ("easy", 100.0))
        for at in range(6)
    ]
    assert [one.candidate.name[0] for one in pick(found, 6, 0.0).picks] == ["hard"] * 3 + ["easy"] * 3


def test_logs_without_texts_can_be_reviewed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items of which only hashes are kept are listed by their ids."""
    log = tmp_path / "log.sqlite3"
    logged(log, [(TASKS[0], items_of(3))], texts="hash")
    found = _listed(capsys, log, "--most", 3)
    assert {one["item"] for one in found["picks"]} == {"item-0", "item-1", "item-2"}
    assert {one["task_text"] for one in found["picks"]} == {""}


def test_bad_calls_are_refused(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Forms that exclude each other, a page that is there, and a cascade that was never asked."""
    page = tmp_path / "page.html"
    page.write_text("mine")
    for more, message in (
        (["--answer", "--json"], "exclude each other"),
        (["--html", str(page)], "is there already"),
        (["--cascade", "scope"], "no decision of cascade 'scope'"),
    ):
        assert main([*REVIEW, str(log), *more]) == ExitCode.BAD_INPUT
        assert message in capsys.readouterr().err
    assert page.read_text() == "mine"


@pytest.fixture
def browser() -> str:
    """A browser, or the reason why there is none."""
    return find_browser() or pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH")


@pytest.mark.slow
@pytest.mark.parametrize("is_dark", [False, True])
def test_a_browser_saves_answers(
    browser: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    is_dark: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The page shows hostile text as text, is readable, and its answers are lines that the log takes."""
    log, page = tmp_path / "log.sqlite3", tmp_path / "page.html"
    hostile = Item(id='"><script>x</script>', name="</script><script>document.title='x'</script>", doc="<b>&amp;")
    logged(log, [(Task(text="<script>alert(1)</script>"), [hostile, *items_of(3)])])
    assert main([*REVIEW, str(log), "--most", "4", "--html", str(page), "--by", "ann"]) == ExitCode.DONE
    choose = (
        "(() => { const page = frame.contentDocument; for (const one of page.querySelectorAll('article')) "
        "one.querySelector(\"input[value='primary']\").click(); "
        "return {lines: frame.contentWindow.outcomes(), told: page.querySelector('output').textContent, "
        "title: page.title}; })()"
    )
    seen = look(browser, page, tmp_path, width=390, is_dark=is_dark, asked=choose)
    assert not seen.console
    assert seen.measured["width"] <= 390
    assert not seen.measured["faint"]
    assert seen.measured["asked"]["told"] == "4 of 4 answered"
    assert seen.measured["asked"]["title"] == "precision: items worth a look"
    outcomes = tmp_path / "outcomes.jsonl"
    outcomes.write_text("".join(json.dumps(line) + "\n" for line in seen.measured["asked"]["lines"]))
    assert main(["log", "outcome", "--file", str(outcomes), "--log", str(log), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["without_decision"] == 0
    rows = rows_of(log, "outcomes")
    assert sorted(row[4] for row in rows) == ["label"] * 4 + ["sampled"]
    assert {row[7] for row in rows} == {"review:ann"}
    assert hostile.id in {row[3] for row in rows}
