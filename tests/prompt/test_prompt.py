"""Prompts: what a model reads, to the letter, and what text from outside cannot do to it."""

from __future__ import annotations

import re
from dataclasses import replace
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import ConfigError, InputError
from cascade.evidence.facts import FACTS
from cascade.items import Group, Item, Task
from cascade.prompt import (
    FORMATS,
    MARK,
    Limits,
    Node,
    PromptBuilder,
    PromptFormat,
    Segment,
    group_text,
    item_text,
    labels_for,
    one_line,
    prompt_format,
    seeds_text,
)
from cascade.stages import Question, Value
from tests.helpers.char_tokenizer import SPECIALS, CharTokenizer

TASK = Task(text="Fix the parser", seeds=("src/parse.py", "src/lex.py"))
GROUP = Group(name="src/parse.py", evidence=("seed", "best9"))
ITEM = Item(
    id="1",
    kind="method",
    name="Parser.feed",
    signature="(self, text) -> None",
    doc="Take more text.",
    evidence=("size3", "match9"),
    group=GROUP,
)
INSTRUCTIONS = "Which code symbols matter?"
QUESTIONS = (
    Question(marker="relevant", wording="does it matter at all?", adapter="a", threshold=0.5),
    Question(marker="primary", wording="must it be changed?", adapter="b", threshold=0.5),
)

EMBEDDED = (
    "<|task|>Which code symbols matter?\n"
    "relevant: does it matter at all?\n"
    "primary: must it be changed?\n"
    "Task: Fix the parser\n"
    "Seed: src/parse.py, src/lex.py"
    "<|group|>src/parse.py | seed best9"
    "<|item|>method Parser.feed | size3 match9 | (self, text) -> None | Take more text."
    "<|ask|>primary"
)

QWEN3 = (
    "<|im_start|>system\n"
    "Which code symbols matter? Answer only yes or no.<|im_end|>\n"
    "<|im_start|>user\n"
    "Questions:\n"
    "relevant: does it matter at all?\n"
    "primary: must it be changed?\n"
    "Task: Fix the parser\n"
    "Seed: src/parse.py, src/lex.py\n"
    "File: src/parse.py | #seed best9\n"
    "Candidate: method Parser.feed | #size3 match9 | (self, text) -> None | Take more text.\n"
    "Answer: primary<|im_end|>\n"
    "<|im_start|>assistant\n"
    "<think>\n"
    "\n"
    "</think>\n"
    "\n"
)

QWEN3_RERANKER = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
    "<Instruct>: Which code symbols matter? relevant: does it matter at all?\n"
    "primary: must it be changed?\n"
    "<Query>: Fix the parser Seed: src/parse.py, src/lex.py\n"
    "<Document>: src/parse.py | #seed best9 "
    "method Parser.feed | #size3 match9 | (self, text) -> None | Take more text.\n"
    "<Requirement>: primary<|im_end|>\n"
    "<|im_start|>assistant\n"
    "<think>\n"
    "\n"
    "</think>\n"
    "\n"
)


def build(form: str, task: Task = TASK, item: Item = ITEM, limits: Limits | None = None) -> Node:
    """The node of the last question, put to an item of a task."""
    builder = PromptBuilder(FORMATS[form], CharTokenizer(), limits or Limits(task=999, seed=999, group=999, item=999))
    root = builder.task(INSTRUCTIONS, QUESTIONS, task)
    parent = builder.group(root, item.group) if item.group else root
    return builder.question(builder.item(parent, item), QUESTIONS[-1].marker)


def with_text(form: str, item: Item, *most: int, marker: str = "primary") -> Node:
    """The node of a question that reads an item's text, where questions read the first so many tokens of it."""
    above = build(form, item=item).path[-2]
    builder = PromptBuilder(FORMATS[form], CharTokenizer())
    return builder.question(builder.text(above, item, most)[-1], marker)


def build_with(tokenizer: CharTokenizer, item: Item, limits: Limits | None = None) -> Node:
    """The node of an item and its group in the embedded format."""
    builder = PromptBuilder(FORMATS["embedded"], tokenizer, limits or Limits(task=999, seed=999, group=999, item=999))
    root = builder.task("", (), Task(text="t"))
    return builder.item(builder.group(root, item.group) if item.group else root, item)


def layout(form: PromptFormat, limits: Limits) -> re.Pattern[str]:
    """What every prompt must look like: the format's own text around slots of one line and limited length."""
    slots = {
        "instructions": re.escape(INSTRUCTIONS),
        "questions": re.escape("\n".join(f"{question.marker}: {question.wording}" for question in QUESTIONS)),
        "marker": re.escape(QUESTIONS[-1].marker),
        "task": f".{{0,{limits.task}}}",
        "seed": f".{{0,{limits.seed}}}",
        "group": f".{{0,{limits.group}}}",
        "item": f".{{0,{limits.item}}}",
    }
    template = form.task + form.group + form.item + form.question
    parts = Formatter().parse(template)
    return re.compile("".join(re.escape(literal) + (slots[slot] if slot else "") for literal, slot, _, _ in parts))


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from((*SPECIALS, "{task}", "{}", "\n\nTask: ", "\r", "\u2028", "\x85", "\x00", "\ud800", " | ")),
        st.text(max_size=8),
    ),
    max_size=8,
).map("".join)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("embedded", EMBEDDED),
        ("chatml", QWEN3.removesuffix("<think>\n\n</think>\n\n")),
        ("qwen3", QWEN3),
        ("qwen3-reranker", QWEN3_RERANKER),
    ],
)
def test_golden(form: str, text: str) -> None:
    """Each format renders a whole prompt to the letter."""
    assert CharTokenizer().decode(build(form).prompt) == text


@pytest.mark.parametrize("form", FORMATS)
def test_specials_of_the_format_are_special_tokens(form: str) -> None:
    """The special tokens that a format writes come out as tokens, in order."""
    text = CharTokenizer().decode(build(form).prompt)
    found = [match.group() for match in re.finditer("|".join(map(re.escape, SPECIALS)), text)]
    assert CharTokenizer.specials(build(form).prompt) == found


class CountingTokenizer(CharTokenizer):
    """Counts the texts that it encodes, and the characters of the longest one."""

    n_calls = longest = 0

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``Tokenizer.encode``."""
        self.n_calls += 1
        self.longest = max(self.longest, len(text))
        return super().encode(text, special=special)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@given(texts=st.lists(HOSTILE, min_size=8, max_size=8), limit=st.integers(1, 40))
def test_outside_text_cannot_break_out(form: str, texts: list[str], limit: int) -> None:
    """Whatever the outside texts hold and wherever they are cut, specials and layout stay the format's own."""
    task = Task(text=texts[0], seeds=(texts[1], texts[2]))
    group = Group(name=texts[3], evidence=(texts[4],))
    item = Item(id="1", kind="class", name=texts[5], signature=texts[6], doc=texts[7], group=group)
    limits = Limits(task=limit, seed=limit, group=limit, item=limit)
    prompt = build(form, task, item, limits).prompt
    assert CharTokenizer.specials(prompt) == CharTokenizer.specials(build(form).prompt)
    assert layout(FORMATS[form], limits).fullmatch(CharTokenizer().decode(prompt))


def test_facts_are_tokens_of_a_vocabulary_that_has_them() -> None:
    """Words of evidence become one token each behind the head, and need nothing between them; others stay text."""
    tokenizer = CharTokenizer(facts=FACTS)
    node = build_with(tokenizer, ITEM)
    assert tokenizer.decode(node.prompt[node.path[1].start :]) == (
        "<|group|>src/parse.py<|seed|>best9"
        "<|item|>method Parser.feed<|size3|>match9 | (self, text) -> None | Take more text."
    )
    assert tokenizer.said(node.prompt) == ["seed", "size3"]
    assert node.text == "method Parser.feed | #size3 match9 | (self, text) -> None | Take more text."


def test_only_facts_that_the_vocabulary_has_are_tokens() -> None:
    """A fact that is no special token of the vocabulary is plain text, as all are in one that has none."""
    item = replace(ITEM, evidence=("size3", "body7"), group=None)
    some, none = CharTokenizer(facts=["body7"]), CharTokenizer()
    assert some.decode(build_with(some, item).tokens) == (
        "<|item|>method Parser.feed<|body7|>size3 | (self, text) -> None | Take more text."
    )
    assert none.decode(build_with(none, item).tokens) == (
        "<|item|>method Parser.feed | size3 body7 | (self, text) -> None | Take more text."
    )


def test_a_cut_takes_signature_and_documentation_before_facts() -> None:
    """An item that is too long loses its documentation and signature first, then the end of its name, and no fact."""
    tokenizer = CharTokenizer(facts=FACTS)
    item = replace(ITEM, evidence=("size3", "body7", "file4"), group=None)
    cut = {limit: tokenizer.decode(build_with(tokenizer, item, Limits(item=limit)).tokens) for limit in (30, 20, 6)}
    assert cut == {
        30: "<|item|>method Parser.feed<|size3|><|body7|><|file4|>(self, te",
        20: "<|item|>method Parser.fee<|size3|><|body7|><|file4|>",
        6: "<|item|>met<|size3|><|body7|><|file4|>",
    }


SPEAKING = ("<|body7|>", "<|seed|>", "#body7", "#", "body7", "<|", "|>", "x", " ", "\n", "\x00", "\u200b", "é")
SPOKEN = st.lists(st.sampled_from(SPEAKING), max_size=8).map("".join)


@pytest.mark.parametrize("form", FORMATS)
@given(texts=st.lists(SPOKEN, min_size=7, max_size=7), limit=st.integers(1, 40))
def test_outside_text_cannot_speak_facts(form: str, texts: list[str], limit: int) -> None:
    """Only evidence becomes a fact: what outside texts hold is no fact's token, and no marked word of evidence."""
    tokenizer = CharTokenizer(facts=FACTS)
    builder = PromptBuilder(FORMATS[form], tokenizer, Limits(task=limit, seed=limit, group=limit, item=limit + 40))
    root = builder.task(INSTRUCTIONS, QUESTIONS, Task(text=texts[0], seeds=(texts[1],)))
    group = builder.group(root, Group(name=texts[2], evidence=(f"{texts[3]}!",)))
    item = Item(id="1", kind="a", name="b", signature=texts[4], doc=texts[5], evidence=("matters9", f"{texts[6]}!"))
    node = builder.item(group, item)
    assert tokenizer.said(node.prompt) == (["matters9"] if form == "embedded" else [])
    in_words = [line for part in node.path for line in (part.text, part.seeds)]
    in_words += [] if form == "embedded" else [tokenizer.decode(node.prompt)]
    assert re.findall(r"#\w+", "\n".join(in_words)) == ["#matters9"] * (1 if form == "embedded" else 2)


def test_the_mark_of_facts_stays_where_no_word_follows() -> None:
    """Text of the kind that is common keeps its signs: only before a word is there a space."""
    line = one_line("C# and F#, #define #1 ## heading #", mark=MARK)
    assert line == "C# and F#, # define # 1 ## heading #"
    assert one_line(line, mark=MARK) == line
    assert one_line("#define") == "#define"


@given(text=st.text(), other=HOSTILE)
def test_one_line_is_one_clean_line(text: str, other: str) -> None:
    """A line made of any text has no line end, no control character and nothing that UTF-8 refuses."""
    line = one_line(text + other)
    assert len(line.splitlines()) <= 1
    assert line == line.strip()
    assert line.encode().decode() == line
    assert one_line(line) == line


@pytest.mark.slow
@given(
    texts=st.lists(st.text() | HOSTILE | st.just(" \n" * 50), min_size=4, max_size=4),
    info=st.lists(st.text(), max_size=40),
    most=st.integers(1, 30),
)
def test_a_line_that_is_cut_is_the_beginning_of_the_whole(texts: list[str], info: list[str], most: int) -> None:
    """However long a text is and whatever it holds, reading its beginning alone changes no line."""
    kind, name, signature, doc = texts
    group = Group(name=name, evidence=tuple(info))
    item = Item(id="1", kind=kind, name=name, signature=signature, doc=doc, evidence=tuple(info))
    task = Task(text=doc, seeds=tuple(info))
    assert one_line("".join(texts), most) == one_line("".join(texts))[:most]
    assert item_text(item, most) == item_text(item)[:most]
    assert group_text(group, most) == group_text(group)[:most]
    assert seeds_text(task, most, MARK) == seeds_text(task, mark=MARK)[:most]


def test_a_text_of_megabytes_costs_no_more_than_its_beginning() -> None:
    """Where 3 tokens are wanted of a long text, a tokenizer sees 96 characters of it, and more where these are few."""
    word = "x" * 10_000_000
    tokenizer = CountingTokenizer()
    limits = Limits(task=3, seed=3, group=3, item=3)
    builder = PromptBuilder(FORMATS["embedded"], tokenizer, limits)
    root = builder.task("", (), Task(text=word, seeds=(word, *"abc" * 1_000)))
    node = builder.item(builder.group(root, Group(name=word)), Item(id="1", kind=word, name=word, evidence=(word,)))
    assert tokenizer.longest == 96
    assert CharTokenizer().decode(node.prompt).endswith("Task: xxx\nSeed: xxx<|group|>xxx<|item|>xxx")
    assert len(node.text) == limits.characters("item") == 3 * 512


def test_few_tokens_of_many_characters_are_all_found() -> None:
    """Where tokens are longer than was tried, more of the text is, until there are enough with a margin, or no more."""

    class Pairs(CountingTokenizer):
        def encode(self, text: str, *, special: bool) -> list[int]:
            return super().encode(text, special=special)[:: 1 if special else 100]

    tokenizer = Pairs()
    builder = PromptBuilder(FORMATS["embedded"], tokenizer, Limits(item=30))
    tokens = builder.item(builder.task("", (), TASK), Item(id="1", kind="a", name="b" * 10**6)).tokens
    assert len(tokens) == 31
    assert tokenizer.longest == 30 * 512


def test_one_line_keeps_plain_text() -> None:
    """Ordinary text, accents and emoji included, passes unchanged but for white space."""
    assert one_line("  Größe\t的  naïve\n👍 ") == "Größe 的 naïve 👍"


def test_a_cut_takes_the_end_of_a_text() -> None:
    """A text over its limit loses its end; the parts around it stay."""
    text = CharTokenizer().decode(build("embedded", limits=Limits(task=3, seed=5, group=4, item=6)).prompt)
    assert text.endswith("\nTask: Fix\nSeed: src/p<|group|>src/<|item|>method<|ask|>primary")


def test_texts_within_the_default_limits_are_whole() -> None:
    """The default limits hold an ordinary task uncut."""
    assert CharTokenizer().decode(build("embedded", limits=Limits(item=99, seed=99)).prompt) == EMBEDDED


def test_the_source_text_of_an_item_is_in_no_prompt() -> None:
    """However an item's source text reads, its prompt is the same."""
    assert build("qwen3", item=replace(ITEM, text="def feed(self): ...")).prompt == build("qwen3").prompt
    assert item_text(replace(ITEM, text="x" * 100)) == item_text(ITEM)


def test_empty_parts_leave_no_trace() -> None:
    """Parts of an item or group that are empty or blank leave no separator behind."""
    assert item_text(Item(id="1", kind="file", name="a.py", doc=" \n", evidence=())) == "file a.py"
    assert group_text(Group(name="a.py")) == "a.py"


def test_a_cut_is_counted() -> None:
    """A node says how many tokens its text has behind its limit, and of a long one that there are still more."""
    builder = PromptBuilder(FORMATS["embedded"], CharTokenizer(), Limits(task=100, seed=2, item=9))
    nodes = [builder.task("", (), Task(text="x" * n, seeds=("a.py",))) for n in (100, 250, 3_200, 3_201, 10**6)]
    assert [(node.n_read, node.n_cut, node.is_longer) for node in nodes] == [
        (100, 0, False), (100, 150, False), (100, 3_100, False), (100, 3_100, True), (100, 3_100, True)
    ]  # fmt: skip
    assert builder.item(nodes[0], Item(id="1", kind="a", name="12345678")).n_cut == 1


def test_a_task_without_seeds_says_so() -> None:
    """A task without seed files reads ``none`` there."""
    text = CharTokenizer().decode(build("qwen3", task=Task(text="t")).prompt)
    assert "\nTask: t\nSeed: none\nFile: " in text


def test_items_without_a_group_hang_below_the_task() -> None:
    """An item without a group follows its task at once."""
    node = build("embedded", item=Item(id="1", kind="file", name="a.py"))
    assert [part.segment for part in node.path] == [Segment.TASK, Segment.ITEM, Segment.QUESTION]
    assert "Seed: src/parse.py, src/lex.py<|item|>file a.py<|ask|>" in CharTokenizer().decode(node.prompt)


def test_a_path_adds_up() -> None:
    """Nodes of a path follow one another without gap or overlap and make up the prompt."""
    node = with_text("qwen3", replace(ITEM, text="return text"), 99)
    assert [part.segment for part in node.path] == list(Segment)
    assert [part.start for part in node.path] == [0, *(part.end for part in node.path[:-1])]
    assert sum((part.tokens for part in node.path), ()) == node.prompt
    assert node.end == len(node.prompt)


def test_nodes_are_themselves_only() -> None:
    """Two nodes with equal tokens are two nodes: each stands for KV of its own."""
    first, second = build("embedded"), build("embedded")
    assert first.tokens == second.tokens
    assert first != second


def test_label_tokens() -> None:
    """The labels' tokens are those of yes and no."""
    tokenizer = CharTokenizer()
    tokens = PromptBuilder(FORMATS["embedded"], tokenizer).label_tokens()
    assert [tokenizer.decode([token]) for token in tokens] == ["yes", "no"]


def test_a_label_of_several_tokens_is_refused() -> None:
    """A model that splits a label cannot answer in one pass; the message names label, format and remedy."""
    builder = PromptBuilder(FORMATS["qwen3"], CharTokenizer(words=["yes"]))
    with pytest.raises(ConfigError, match=r"'no' of prompt format 'qwen3' is 2 tokens .* Choose a format"):
        builder.label_tokens()


def test_two_labels_of_one_token_are_refused() -> None:
    """A format whose labels are one token tells nothing apart."""
    form = PromptFormat(name="odd", task="", group="", item="", question="", yes="yes", no="yes")
    with pytest.raises(ConfigError, match="are the same token"):
        PromptBuilder(form, CharTokenizer()).label_tokens()


def test_unknown_format() -> None:
    """An unknown format's message lists those that exist."""
    with pytest.raises(ConfigError, match="'alpaca'; allowed are embedded, chatml, qwen3, qwen3-reranker"):
        prompt_format("alpaca")
    assert prompt_format("qwen3").name == "qwen3"


def test_segments_are_tokenised_once() -> None:
    """A segment seen before costs no tokenising, in whatever place of the trie."""
    tokenizer = CountingTokenizer()
    builder = PromptBuilder(FORMATS["embedded"], tokenizer)
    root = builder.task(INSTRUCTIONS, QUESTIONS, TASK)
    builder.item(builder.group(root, GROUP), ITEM)
    before = tokenizer.n_calls
    builder.item(builder.group(builder.task(INSTRUCTIONS, QUESTIONS, TASK), GROUP), ITEM)
    assert tokenizer.n_calls == before


def _choice(*values: Value, is_scale: bool = False) -> Question:
    return Question(marker="kind", wording="what is it?", adapter="a", threshold=0.5, values=values, is_scale=is_scale)


def test_values_that_are_single_tokens_are_their_own_labels() -> None:
    """Otherwise letters stand for them; the levels of a score are numbered from 0 on."""
    tokenizer = CharTokenizer(("yes", "no", "bug", "docs"))
    own = labels_for(_choice(Value("bug"), Value("docs")), tokenizer)
    assert own.texts == ("bug", "docs")
    assert own.tokens == tuple(tokenizer.encode(text, special=False)[0] for text in own.texts)
    assert labels_for(_choice(Value("bug"), Value("feature")), tokenizer).texts == ("A", "B")
    assert labels_for(_choice(Value("very low"), Value("bug"), is_scale=True), tokenizer).texts == ("0", "1")


def test_labels_of_equal_tokens_are_none() -> None:
    """Two values that a vocabulary writes with the same token get letters."""

    class Blind(CharTokenizer):
        def encode(self, text: str, *, special: bool) -> list[int]:
            return super().encode("bug" if text == "docs" else text, special=special)

    assert labels_for(_choice(Value("bug"), Value("docs")), Blind(("bug",))).texts == ("A", "B")


@pytest.mark.parametrize("n", [2, 27, 52, 53, 255])
def test_as_many_values_as_the_vocabulary_has_single_tokens_for(n: int) -> None:
    """Every value has a token of its own; too many are refused with how many there could be."""
    pairs = [first + second for first in "ABCDEFGH" for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    question = _choice(*(Value(f"value {at}") for at in range(n)))
    found = labels_for(question, CharTokenizer(("yes", "no", *pairs)))
    assert len(set(found.tokens)) == len(set(found.texts)) == n
    if n > 52:
        with pytest.raises(ConfigError, match=rf"The {n} values of question 'kind' .* at most 52"):
            labels_for(question, CharTokenizer(("yes", "nay")))


def test_a_choice_lists_its_values_behind_its_wording() -> None:
    """With labels where these differ, with descriptions where there are some; of yes and no alone nothing is listed."""
    tokenizer = CharTokenizer(("yes", "no", "bug", "docs"))
    builder = PromptBuilder(FORMATS["qwen3"], tokenizer)

    def prefix(*values: Value, is_scale: bool = False) -> str:
        node = builder.task("Sort.", [_choice(*values, is_scale=is_scale)], TASK)
        return tokenizer.decode(node.tokens)

    assert "kind: what is it? bug: it is broken; docs\n" in prefix(Value("bug", "it is broken"), Value("docs"))
    assert "kind: what is it? A: new feature, wanted; B: bug\n" in prefix(Value("new feature", "wanted"), Value("bug"))
    assert "kind: what is it? 0: low; 1: high\n" in prefix(Value("low"), Value("high"), is_scale=True)
    assert "Answer only with one of the labels" in prefix(Value("low"), Value("high"))
    plain = prefix()
    assert "kind: what is it?\n" in plain
    assert "Answer only yes or no." in plain
    assert prefix(Value("no"), Value("yes")) == plain


@pytest.mark.parametrize("form", [form for form in FORMATS.values() if form.only])
def test_the_sentence_that_asks_for_yes_or_no_stands_in_its_template(form: PromptFormat) -> None:
    """Or nothing would be replaced where a question has other values."""
    assert form.task.count(form.only) == 1


@pytest.mark.parametrize("name", ["", " bug", "bug\nfix", 3])
def test_a_value_is_one_line(name: str) -> None:
    """Anything else is refused where it is made."""
    with pytest.raises(InputError, match="name of a value"):
        Value(name)
