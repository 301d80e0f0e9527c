"""The embedded model's tokenizer: byte-level BPE split by Qwen2's pattern, trained on the tasks.

Behind what is trained stand the words of evidence, one special token each, in the order of ``FACTS``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from cascade.evidence.facts import FACTS
from cascade.prompt import FORMATS

SIZE = 8192  # without the words of evidence
FORM = ("<|endoftext|>", "<|task|>", "<|group|>", "<|item|>", "<|ask|>")
EVIDENCE = tuple(FORMATS["embedded"].fact.format(fact=fact) for fact in FACTS)
SPECIALS = (*FORM, *EVIDENCE)
# llama.cpp's pre-tokenizer "qwen2" (llama-vocab.cpp) splits by the same pattern and normalises nothing.
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words that must come out as one token wherever the prompts put them, however rare in the data.
_NEEDED = ("yes", "no", "relevant", "primary", "supporting", "dependency", "co_change", "metadata")


def train(texts: Iterable[str]) -> Tokenizer:
    """A vocabulary of ``SIZE`` tokens fitted to texts, and the words of evidence behind them."""
    tokenizer = _untrained(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[AddedToken(text, special=True) for text in FORM],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def corpus() -> Iterable[str]:
        yield from texts
        yield from (f"{word}\n" for word in _NEEDED for _ in range(20_000))

    tokenizer.train_from_iterator(corpus(), trainer)
    return extend(tokenizer)


def of_model(path: Path) -> Tokenizer:
    """The vocabulary of a model that ``export_base`` wrote, special tokens included."""
    fields = gguf.GGUFReader(path).fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = _untrained(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _untrained(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def extend(tokenizer: Tokenizer) -> Tokenizer:
    """A copy of a vocabulary with the words of evidence behind its last token, or where they are in it already.

    Raises:
        ValueError: The vocabulary has some of them, but not all in their order.
    """
    found = Tokenizer.from_str(tokenizer.to_str())
    first = found.token_to_id(EVIDENCE[0])
    first = found.get_vocab_size() if first is None else first
    found.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in EVIDENCE])
    if [found.token_to_id(text) for text in EVIDENCE] != list(range(first, first + len(EVIDENCE))):
        msg = "The vocabulary has some words of evidence, but not all in their order. Extend one that has none."
        raise ValueError(msg)
    return found


class TrainingTokenizer:
    """The trained vocabulary behind the library's ``Tokenizer`` protocol."""

    def __init__(self, path: Path) -> None:
        self._with_specials = Tokenizer.from_file(str(path))
        self._plain = Tokenizer.from_file(str(path))
        self._plain.encode_special_tokens = True

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; see ``cascade.prompt.Tokenizer``."""
        ids: list[int] = (self._with_specials if special else self._plain).encode(text).ids
        return ids
