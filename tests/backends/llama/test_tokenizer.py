"""A vocabulary with special tokens in the real llama.cpp: the words of evidence, which no other text becomes."""

from __future__ import annotations

from random import Random

import pytest

from cascade.backends.llama.tokenizer import LlamaTokenizer, load_vocabulary
from cascade.evidence.facts import FACTS
from cascade.items import Group, Item, Task
from cascade.prompt import FORMATS, Limits, PromptBuilder
from tests.helpers.gguf_files import TOKENS, write_model

CONTROL = 3
SPECIALS = ("<|task|>", "<|group|>", "<|item|>", "<|ask|>", *(f"<|{fact}|>" for fact in FACTS))
PARTS = ("<|body7|>", "<|", "|>", "body7", "<|seed|>", "<|item|>", "#", " ", "|", "<", "é", "\n", "\x00", "yes", "🙂")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    """A vocabulary with a special token for each fact, behind all others."""
    path = tmp_path_factory.mktemp("vocabulary") / "tiny.gguf"
    types = dict.fromkeys(SPECIALS, CONTROL)
    return load_vocabulary(write_model(path, (*TOKENS[:-1], *SPECIALS, TOKENS[-1]), types))


def test_every_fact_is_one_token(tokenizer: LlamaTokenizer) -> None:
    """Each word of evidence is the special token of its name, and they are in the order of the list."""
    builder = PromptBuilder(FORMATS["embedded"], tokenizer)
    first = builder.facts[FACTS[0]]
    assert builder.facts == {fact: first + place for place, fact in enumerate(FACTS)}
    assert all(map(tokenizer.is_special, builder.facts.values()))


def test_no_text_becomes_a_fact(tokenizer: LlamaTokenizer) -> None:
    """Random texts that spell special tokens become none, wherever they stand; nor do they when a server reads them."""
    rng = Random(0)
    builder = PromptBuilder(FORMATS["embedded"], tokenizer, Limits(task=20, seed=9, group=200, item=400))
    due = ["<|task|>", "<|group|>", "<|seed|>", "<|item|>", "<|body7|>"]
    for _ in range(300):
        text, other = ("".join(rng.choices(PARTS, k=rng.randrange(12))) for _ in range(2))
        root = builder.task("", (), Task(text=text, seeds=(other,)))
        group = builder.group(root, Group(name=text, evidence=("seed", f"{other}!")))
        item = Item(id="1", kind="a", name="b", signature=other, doc=text, evidence=("body7", f"{text}!"))
        prompt = builder.item(group, item).prompt
        assert [tokenizer.text(token) for token in prompt if tokenizer.is_special(token)] == due
        again = tokenizer.encode(tokenizer.decode(prompt), special=True)
        assert [tokenizer.text(token) for token in again if tokenizer.is_special(token)] == due
