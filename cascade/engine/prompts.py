"""The prompts of one request: a trie for each model, built down to the items that it is asked of. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cascade.engine.item_state import Branch, ItemState
from cascade.engine.online_profile import OnlineProfile
from cascade.errors import ItemError
from cascade.items import Group, Item, Task
from cascade.prompt import FORMATS, PAIR, Node, PromptBuilder
from cascade.report import Statistics
from cascade.stages import Question
from cascade.tree import text_limits


@dataclass(slots=True, eq=False)
class Prompts:
    """What of a request's prompts is built.

    An item that several models read counts once, and as cut if one of them reads only the beginning.

    Attributes:
        task: The task.
        items: The items, those of most value first.
        expected: The online profile of the cascade; knows which model answers a question.
        stats: Where is counted what is read and how long building takes.
        roots: Model -> the node of the task, once prompts of that model are being built.
    """

    task: Task
    items: Sequence[ItemState]
    expected: OnlineProfile
    stats: Statistics
    roots: dict[str, Node] = field(default_factory=dict)
    _groups: dict[tuple[str, Group], Node] = field(default_factory=dict)
    _cut: set[str] = field(default_factory=set)  # ids, here and below
    _texts: set[str] = field(default_factory=set)
    _cut_texts: set[str] = field(default_factory=set)

    def grow(self, build: PromptBuilder, max_prompt: int, model: str = "") -> Iterator[None]:
        """Build a model's trie down to the items that it is asked of, those of most value first; pauses after each.

        What was built before stays, so that it can be called again once items have come to further stages.

        Args:
            build: Builds the model's prompts.
            max_prompt: Most tokens of one.
            model: Its name.

        Raises:
            ItemError: A prompt would not fit into the context; names item, tokens and limit.
        """
        questions = self._questions_to(model)
        room = Room(build, max_prompt, questions, model)
        for state in self.items:
            if model not in state.branches and state.asks(model):
                before = time.perf_counter()
                node = self._item_node(build, state.item, model, questions)
                room.check(node, state.item)
                self._count_item(state.item, is_cut=node.is_path_cut)
                state.branches[model] = Branch(node)
                self.stats.prompt_ms += 1_000 * (time.perf_counter() - before)
                yield
        yield from self._grow_texts(build, model, questions)

    def _grow_texts(self, build: PromptBuilder, model: str, questions: Sequence[Question]) -> Iterator[None]:
        """Build the texts of the items whose stage reads them, those of most value first; pauses after each."""
        limits = text_limits(questions)
        for state in self.items if limits else ():
            asked = [question for _, question in state.pending() if state.model_of(question) == model]
            branch = state.branches.get(model)
            if branch is not None and not all(map(branch.has, asked)):
                before = time.perf_counter()
                nodes = build.text(branch.node, state.item, limits)
                branch.texts = dict(zip(limits, nodes, strict=True))
                self._count_text(state.item, branch, asked)
                self.stats.prompt_ms += 1_000 * (time.perf_counter() - before)
                yield

    def _questions_to(self, model: str) -> list[Question]:
        """The questions of the cascade that a model answers."""
        return [asked for asked in self.expected.cascade.questions() if self.expected.model_of(asked) == model]

    def _item_node(self, build: PromptBuilder, item: Item, model: str, questions: Sequence[Question]) -> Node:
        """An item's node in a model's trie, below its group's and the task's."""
        if model not in self.roots:
            self.roots[model] = build.task(self.expected.cascade.instructions, questions, self.task)
            self._count_task(self.roots[model])
        parent = self.roots[model]
        if item.group is not None:
            key = model, item.group
            if key not in self._groups:
                self._groups[key] = build.group(parent, item.group)
            parent = self._groups[key]
        is_open = any(question.is_open for question in questions)
        return build.open_item(parent, item) if is_open else build.item(parent, item)

    def _count_task(self, root: Node) -> None:
        """Count what is read of the task; of several models it is the one that leaves out the most."""
        stats = self.stats
        if len(self.roots) == 1 or (root.is_longer, root.n_cut) > (stats.task_is_longer, stats.task_tokens_cut):
            stats.task_tokens_read, stats.task_tokens_cut = root.n_read, root.n_cut
            stats.task_is_longer = root.is_longer

    def _count_item(self, item: Item, *, is_cut: bool) -> None:
        """Count an item of which a model reads only the beginning."""
        if is_cut:
            self._cut.add(item.id)
            self.stats.items_cut = len(self._cut)

    def _count_text(self, item: Item, branch: Branch, asked: Iterable[Question]) -> None:
        """Count a text that is read, and whether its stage reads only the beginning."""
        nodes = [node for question in asked if (node := branch.above(question)) is not branch.node]
        is_cut = any(node.n_cut for node in nodes)
        if nodes:
            self._texts.add(item.id)
        if is_cut:
            self._cut_texts.add(item.id)
        self._count_item(item, is_cut=is_cut)
        self.stats.texts_read, self.stats.texts_cut = len(self._texts), len(self._cut_texts)


class Room:
    """Whether prompts fit into the context of their model.

    Args:
        build: Builds the prompts.
        max_prompt: Most tokens of one.
        questions: What is asked.
        model: Name of the model.
    """

    def __init__(self, build: PromptBuilder, max_prompt: int, questions: Sequence[Question], model: str) -> None:
        self._build, self._most = build, max_prompt
        self._longest = max(map(build.question_tokens, questions), default=0)
        self._texts = text_limits(questions)
        self._key = f"models.{model}" if model else "model"

    def check(self, node: Node, item: Item) -> None:
        """Refuse an item whose prompt would not fit.

        Raises:
            ItemError: Names item, tokens and limit.
        """
        build, end = self._build, node.end
        if self._texts and item.text and end + build.most_text(self._texts[-1]) + self._longest > self._most:
            end = build.text(node, item, self._texts)[-1].end  # a text may have fewer tokens than questions would read
        if end + self._longest > self._most:
            limit = f"{self._key}.limits or a stage's max_text_tokens" if end > node.end else f"{self._key}.limits"
            room, remedy = f"the context holds {self._most}", f"or raise {self._key}.n_ctx"
            if build.form is FORMATS[PAIR]:
                room, remedy = (
                    f"the encoder reads {self._most}",
                    f"or raise {self._key}.n_batch if it has more positions",
                )
            msg = f"Item {item.id!r} needs a prompt of {end + self._longest} tokens; {room}. Lower {limit}, {remedy}."
            raise ItemError(msg)
