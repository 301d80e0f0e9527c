"""Choices and scores in a config file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade.config.lock import questions_fingerprint
from cascade.config.schema import read_config
from cascade.stages import ANY_TIER, Kind, Target, Value
from tests.config.test_schema import refusal, write

HEAD = '[model]\npath = "model.gguf"\n[cascade.tickets]\ninstructions = "Sort tickets."\n'
LABELS = 'labels = ["none", "docs", "later", "now", "review"]\n'
CHOICE = """
[[cascade.tickets.stages]]
name = "kind"
question = "what is it?"
adapter = "base"
values = { none = "nothing at all", docs = "", bug = "something is broken" }
next = { bug = { stage = "urgency" } }
least_confidence = 0.3
uncertain = { label = "review" }
"""
SCORE = """
[[cascade.tickets.stages]]
name = "urgency"
question = "how urgent is it?"
adapter = "base"
levels = ["can wait", "today"]
cuts = [0.5]
next = [{ label = "later" }, { label = "now" }]
"""


def test_values_and_levels_make_choices_and_scores(tmp_path: Path) -> None:
    """The key tells the kind; a value that is not led on leads to the label of its own name."""
    cascade = read_config(write(tmp_path, HEAD + LABELS + CHOICE + SCORE)).cascades()["tickets"]
    kind, urgency = cascade.stages
    assert (kind.kind, urgency.kind) == (Kind.CHOICE, Kind.SCORE)
    asked = kind.question(ANY_TIER)
    assert asked.values == (Value("none", "nothing at all"), Value("docs"), Value("bug", "something is broken"))
    assert (asked.marker, asked.threshold) == ("kind", 0.3)
    assert kind.next["docs"] == Target("docs", is_label=True)
    assert kind.next["bug"] == Target("urgency", is_label=False)
    assert cascade.handed_on == ("review",)
    assert urgency.next == {"0": Target("later", is_label=True), "1": Target("now", is_label=True)}
    assert urgency.cuts == (0.5,)


def test_a_choice_may_read_the_text(tmp_path: Path) -> None:
    """As a yes/no question may, with a length of its own."""
    text = HEAD + LABELS + CHOICE.replace("least", 'reads = "text"\nmax_text_tokens = 40\nleast') + SCORE
    kind, urgency = read_config(write(tmp_path, text)).cascades()["tickets"].stages
    assert (kind.question(ANY_TIER).max_text_tokens, urgency.question(ANY_TIER).max_text_tokens) == (40, 0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("least_confidence = 0.3\n", "", "stages.kind.uncertain: no item could take it"),
        ('uncertain = { label = "review" }\n', "", "stages.kind.uncertain: there is none"),
        ("next = { bug =", "next = { bugs =", "there is no 'bugs'"),
        ("least_confidence = 0.3", "least_confidence = 1", "least_confidence"),
        ("cuts = [0.5]", "cuts = [1.5]", "stages.urgency.cuts: [1.5] do not rise between 0 and 1"),
        ("cuts = [0.5]\n", "", "cuts"),
        ('docs = ""', 'feature = ""', "leads to unknown label 'feature'"),
        ('levels = ["can wait", "today"]', 'levels = ["can wait"]', "1 were given, and a score has 2 to 10"),
        ("levels", 'kind = "choice"\nlevels', "levels"),
        ('"today"', '""', "cascade.tickets.stages.urgency.levels.1: one line of printable characters"),
        ('"today"', '"\\u202Etoday"', "cascade.tickets.stages.urgency.levels.1: one line of printable characters"),
        ('docs = ""', '" docs" = ""', "cascade.tickets.stages.kind.values.' docs': one line of printable characters"),
    ],
)
def test_what_does_not_fit_names_its_key(old: str, new: str, words: str, tmp_path: Path) -> None:
    """File, key and remedy."""
    text = HEAD + LABELS + CHOICE + SCORE
    assert old in text
    assert words in refusal(tmp_path, text.replace(old, new))


def test_tuned_thresholds_are_locked_to_the_values(tmp_path: Path) -> None:
    """Another value or description is another question; the least confidence and cut points are not."""

    def fingerprint(old: str = "", new: str = "") -> str:
        text = (HEAD + LABELS + CHOICE + SCORE).replace(old, new)
        return questions_fingerprint(read_config(write(tmp_path, text)).cascades()["tickets"])

    own = fingerprint()
    assert fingerprint("least_confidence = 0.3", "least_confidence = 0.6") == own
    assert fingerprint("[0.5]", "[0.6]") == own
    for old, new in (("at all", "much"), ("something is broken", ""), ("can wait", "low")):
        assert fingerprint(old, new) != own
