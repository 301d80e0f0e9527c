"""The embedded model's tokenizer: byte-level BPE split by Qwen2's pattern, trained on the tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 8192
SPECIALS = ("<|endoftext|>", "<|task|>", "<|group|>", "<|item|>", "<|ask|>")
# llama.cpp's pre-tokenizer "qwen2" (llama-vocab.cpp) splits by the same pattern and normalises nothing.
PATTERN = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Words that must come out as one token wherever the prompts put them, however rare in the data.
_NEEDED = ("yes", "no", "relevant", "primary", "supporting", "dependency", "co_change", "metadata")


def train(texts: Iterable[str]) -> Tokenizer:
    """A vocabulary of ``SIZE`` tokens fitted to texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=[AddedToken(text, special=True) for text in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def corpus() -> Iterable[str]:
        yield from texts
        yield from (f"{word}\n" for word in _NEEDED for _ in range(20_000))

    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


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
