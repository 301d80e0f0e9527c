"""One call per item that tells all labels of a cascade apart, in place of its stages. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.errors import ConfigError
from cascade.prompt import Tokenizer
from cascade.stages import ANY_TIER, Question, Stage, Target
from cascade.tree import Cascade

_MARKER = "label"


def one_stage(cascade: Cascade) -> Cascade:
    """A cascade of the same name that asks each item once, under the first stage's adapter.

    Its two answers stand for all labels, since an answer leads to no second call.
    """
    names = ", ".join(cascade.labels)
    first = next(iter(cascade.first.questions.values()))
    question = Question(marker=_MARKER, wording=f"which is it: {names}?", adapter=first.adapter, threshold=0.5)
    no, yes = cascade.labels[:2]
    stage = Stage(
        name=_MARKER,
        questions={ANY_TIER: question},
        yes=Target(yes, is_label=True),
        no=Target(no, is_label=True),
    )
    return Cascade(
        name=cascade.name, instructions=cascade.instructions, labels=(no, yes), stages=(stage,), items=cascade.items
    )


def label_starts(labels: Sequence[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The text of each label's first token, by which one position tells labels apart.

    Raises:
        ConfigError: Two labels start with the same token, or a label's first token is no text by itself.
    """
    first = {label: tokenizer.encode(label, special=False)[:1] for label in labels}
    starts = []
    for label in labels:
        twin = next((other for other in labels if other != label and first[other] == first[label]), None)
        if twin is not None:
            msg = f"Labels {label!r} and {twin!r} start with the same token in this model; rename one."
            raise ConfigError(msg)
        ends = range(1, len(label) + 1)
        start = next((label[:end] for end in ends if tokenizer.encode(label[:end], special=False) == first[label]), "")
        if not start:
            msg = f"Label {label!r} starts with a token that is no text by itself in this model; rename it."
            raise ConfigError(msg)
        starts.append(start)
    return tuple(starts)
