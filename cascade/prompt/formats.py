"""How prompts are written for each family of models. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cascade.errors import ConfigError
from cascade.prompt.lines import MARK
from cascade.stages import Question


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """How segments are written for one family of models.

    In a template, ``{slots}`` take text from outside; all else is the format's own and may hold
    special tokens.

    Attributes:
        name: What a config calls it.
        task: Template with the slots ``instructions``, ``questions``, ``task`` and ``seed``.
        group: Template with the slot ``group``.
        item: Template with the slot ``item``.
        text: Template with the slot ``text``, an item's text, at its end, so that a longer text goes on from a shorter.
        text_end: What stands between an item's text and a question.
        question: Template with the slot ``marker``; what stands after the slot closes the prompt.
        fact: Template with the slot ``fact``: the special token of a word of evidence, in vocabularies that have it;
            empty if none has.
        mark: What stands before a word of evidence that is no special token, and before no word of text from outside;
            empty for nothing.
        only: The sentence of the task that says to answer yes or no; empty for none.
        only_listed: What stands there instead where a question has other values.
        open_task: Template with the slots ``instructions`` and ``state``, of a task that items ask questions about.
        open_item: Template with the slot ``asked``, of an item that is such a question.
        n_evidence: Most words that are written of an item's evidence, and none of its group's; None for all of both.
        yes: Text of the label token for yes.
        no: Text of the label token for no.
    """

    name: str
    task: str
    group: str
    item: str
    question: str
    text: str = "\n{text}"
    text_end: str = ""
    fact: str = ""
    mark: str = MARK
    n_evidence: int | None = None
    only: str = ""
    only_listed: str = ""
    open_task: str = ""
    open_item: str = ""
    yes: str = "yes"
    no: str = "no"

    def is_plain(self, question: Question) -> bool:
        """Whether the label tokens for yes and no answer a question: it has no values of its own, or just these two."""
        names = {value.name for value in question.values}
        has_words = any(value.description for value in question.values)
        return not names or (names == {self.yes, self.no} and not has_words)


_YES_OR_NO = " Answer only yes or no."
_ONLY_YES_NO = 'Note that the answer can only be "yes" or "no".'
PAIR = "pair"
"""The format of encoders."""

_CHAT_END = "<|im_end|>\n<|im_start|>assistant\n"
_NO_THOUGHT = "<think>\n\n</think>\n\n"

# The chat template of SmolLM2-Instruct, and of many others.
_CHATML = PromptFormat(
    name="chatml",
    task="<|im_start|>system\n{instructions}" + _YES_OR_NO + "<|im_end|>\n"
    "<|im_start|>user\nQuestions:\n{questions}\nTask: {task}\nSeed: {seed}\n",
    group="File: {group}\n",
    item="Candidate: {item}\n",
    text="Text: {text}",
    text_end="\n",
    question="Answer: {marker}" + _CHAT_END,
    only=_YES_OR_NO,
    only_listed=" Answer only with one of the labels that are listed with the question, or yes or no.",
    open_task="<|im_start|>system\n{instructions}<|im_end|>\n<|im_start|>user\nText: {state}\n",
    open_item="Question: {asked}\n",
)

FORMATS = {
    format_.name: format_
    for format_ in (
        PromptFormat(
            name="embedded",
            task="<|task|>{instructions}\n{questions}\nTask: {task}\nSeed: {seed}",
            group="<|group|>{group}",
            item="<|item|>{item}",
            question="<|ask|>{marker}",
            fact="<|{fact}|>",
            mark="",
            open_task="<|task|>{instructions}\nText: {state}",
            open_item="<|item|>{asked}",
        ),
        _CHATML,
        # Qwen3's chat template with enable_thinking=False, which closes an empty think block.
        replace(_CHATML, name="qwen3", question=_CHATML.question + _NO_THOUGHT),
        # The form of Qwen3-Reranker's model card: instruct, query, document, then yes or no.
        PromptFormat(
            name="qwen3-reranker",
            task="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
            "the Instruct provided. " + _ONLY_YES_NO + "<|im_end|>\n"
            "<|im_start|>user\n<Instruct>: {instructions} {questions}\n<Query>: {task} Seed: {seed}\n<Document>: ",
            group="{group} ",
            item="{item}\n",
            text="{text}",
            text_end="\n",
            question="<Requirement>: {marker}" + _CHAT_END + _NO_THOUGHT,
            only=_ONLY_YES_NO,
            only_listed='Note that the answer can only be a label that is listed with the requirement, "yes" or "no".',
            open_task="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
            "the Instruct provided.<|im_end|>\n<|im_start|>user\n<Instruct>: {instructions}\n<Document>: {state}\n",
            open_item="<Query>: {asked}\n",
        ),
        # What a cross-encoder reads, BERT's form: two texts, each closed; its head answers, and no label token does.
        PromptFormat(
            name=PAIR,
            task="[CLS]{task}[SEP]",
            group="{group} | ",
            item="{item}",
            text=" | {text}",
            question="[SEP]",
            n_evidence=2,
        ),
    )
}


def prompt_format(name: str, labels: tuple[str, str] | None = None) -> PromptFormat:
    """The format of that name.

    Args:
        name: One of ``FORMATS``.
        labels: Texts of the label tokens for yes and no, in place of its own.

    Raises:
        ConfigError: There is none.
    """
    if name not in FORMATS:
        msg = f"Unknown prompt format {name!r}; allowed are {', '.join(FORMATS)}."
        raise ConfigError(msg)
    found = FORMATS[name]
    return found if labels is None else replace(found, yes=labels[0], no=labels[1])
