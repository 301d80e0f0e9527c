"""Texts from outside, through llama.cpp's tokenizer and into prompts: no text may become a special token."""

from __future__ import annotations

import tempfile
from functools import cache, lru_cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade import Group, Item, Task
from cascade.backends.llama.tokenizer import LlamaTokenizer, load_vocabulary
from cascade.backends.servers.open import TextTokenizer
from cascade.config.schema import shipped_config
from cascade.evidence.facts import FACTS
from cascade.prompt import FORMATS, PromptBuilder
from cascade.stages import Question
from tests.fuzz.damage import TEXTS
from tests.fuzz.target import Files, Target
from tests.helpers.gguf_files import TOKENS, write_model

_SPECIAL = ("<|task|>", "<|item|>", "<|ask|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>")
_PIECES = (
    *TEXTS,
    *_SPECIAL,
    "<|",
    "|>",
    "<",
    " <think",
    "<|body7|>",
    "#body7",
    "\u0120yes",
    "[EMPTY_3]",
    "<0x0A>",
    "\u2581",
    "a" * 300,
    "\r\n",
)


@st.composite
def _texts(draw: DrawFn) -> Files:
    """Any Unicode, lone surrogates too, between the texts of special tokens and other odd ones."""
    parts = [
        draw(st.text(max_size=12)) if draw(st.booleans()) else _PIECES[draw(st.integers(0, len(_PIECES) - 1))]
        for _ in range(draw(st.integers(0, 6)))
    ]
    times = draw(st.sampled_from([1, 1, 1, 1, 1, 1, 1, 40]))
    return {"text": ("".join(parts) * times).encode("utf-8", "surrogatepass")}


@cache
def _tokenizers() -> tuple[LlamaTokenizer, ...]:
    """The shipped model's, one whose vocabulary has special tokens of every kind, and one with words of evidence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "qwen.gguf")
        tokens = (*TOKENS[:-1], *_SPECIAL[3:5], *_SPECIAL[6:], "<|endoftext|>")
        write_model(path, tokens, dict.fromkeys(_SPECIAL[6:], 4) | dict.fromkeys(_SPECIAL[3:5], 3))
        facts = (*_SPECIAL[:3], *(f"<|{fact}|>" for fact in FACTS))
        types = dict.fromkeys(facts, 3)
        telling = write_model(Path(folder, "facts.gguf"), (*TOKENS[:-1], *facts, "<|endoftext|>"), types)
        return tuple(map(load_vocabulary, (shipped_config().parent / "embedded.gguf", path, telling)))


def take_text(folder: Path) -> bool:
    """Tokenise a text, and write it into every place of a prompt."""
    text = (folder / "text").read_bytes().decode("utf-8", "surrogatepass")
    for tokenizer, form in zip(_tokenizers(), ("embedded", "qwen3", "embedded"), strict=True):
        tokens = tokenizer.encode(text, special=False)
        assert not any(map(tokenizer.is_special, tokens)), "text became a special token"
        tokenizer.encode(text, special=True)
        again = tokenizer.encode(tokenizer.decode(tokens), special=True)
        assert not any(map(tokenizer.is_special, again)), "text that is sent to a server becomes a special token"
        own, found = _n_special(tokenizer, form, "a"), _n_special(tokenizer, form, text)
        assert found == own, f"{found} special tokens, where the format has {own}"
    _written(PromptBuilder(FORMATS["qwen3-reranker"], TextTokenizer()), text)
    return True


@lru_cache(maxsize=32)
def _n_special(tokenizer: LlamaTokenizer, form: str, text: str) -> int:
    return sum(map(tokenizer.is_special, _written(PromptBuilder(FORMATS[form], tokenizer), text)))


def _written(builder: PromptBuilder, text: str) -> tuple[int, ...]:
    """A prompt with a text in every place."""
    question = Question(marker="matter", wording=text, adapter="base", threshold=0.5)
    root = builder.task(text, [question], Task(text=text, seeds=(text,)))
    evidence = (f"{text}!", "body7")  # a text that is a word of evidence, and nothing else, may be one
    group = builder.group(root, Group(name=text, evidence=evidence))
    item = builder.item(group, Item(id="1", kind=text, name=text, signature=text, doc=text, evidence=evidence))
    prompt = builder.question(item, "matter").prompt
    assert all(node.tokens for node in item.path)
    return prompt


TARGETS = (Target(name="texts", share=10, files=_texts(), take=take_text),)
