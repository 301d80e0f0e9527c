"""The embedded model's tokenizer: byte-level BPE split by Qwen2's pattern.

Behind what is trained stand the words of evidence, one special token each, in the order of ``FACTS``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from cascade.evidence.facts import FACTS
from cascade.prompt import FORMATS

FORM = ("<|endoftext|>", "<|task|>", "<|group|>", "<|item|>", "<|ask|>")
EVIDENCE = tuple(FORMATS["embedded"].fact.format(fact=fact) for fact in FACTS)
SPECIALS = (*FORM, *EVIDENCE)
# llama.cpp's pre-tokenizer "qwen2" (llama-vocab.cpp) splits by the same pattern and normalises nothing.
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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

        self._known = lru_cache(maxsize=500_000)(self._encode)  # the views of a task show the same texts

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; see ``cascade.prompt.Tokenizer``."""
        return list(self._known(text, special=special))

    def _encode(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple((self._with_specials if special else self._plain).encode(text).ids)
