"""Questions of a caller's own to a base model or an adapter: the state once, the questions as branches below it.

No question reads another, nor how many there are: what stands before it is the state alone. A choice whose options do
not fit into a prompt, or are more than the vocabulary has labels for, is asked option by option, yes or no. The
probabilities are then those under the condition that one option alone is right: p / (1 - p) over the sum of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cascade.engine.engine import Engine
from cascade.errors import ConfigError
from cascade.items import Item, Task
from cascade.probability import softmax, sure_logit
from cascade.prompt import PromptBuilder, one_line
from cascade.prompt.labels import labels_for, listed
from cascade.report import Report, Step
from cascade.service.typed import Answered, Asked, too_long
from cascade.stages import ANY_TIER, Kind, Question, Stage, Target, Value
from cascade.tree import Cascade

INSTRUCTIONS = "Read the text and answer the question about it."
_EMPTY = "(empty)"
_YES_NO = "yes or no"
_LABEL = "one label"


@dataclass(frozen=True, slots=True)
class _Branch:
    """One question that the model is asked: its words, and the form of its answer."""

    asked: str
    form: Question


class OpenForms:
    """Turns questions into branches for one adapter.

    Args:
        adapter: The adapter.
        marker: The marker that it was trained under; None where it was trained under none.
        builder: Builds the prompts of its model.
        max_prompt: Most tokens of one.
    """

    def __init__(self, adapter: str, marker: str | None, builder: PromptBuilder, max_prompt: int) -> None:
        self._adapter, self._marker = adapter, marker
        self._builder, self._most = builder, max_prompt
        self._yes_no = self._form(())

    def work(self, state: str, questions: Mapping[int, Asked]) -> OpenWork:
        """What is to be asked.

        Args:
            state: What the questions are about.
            questions: Place among those of the request -> question.

        Raises:
            RefusedError: State or question are longer than the model's context.
        """
        task = Task(text=state if state.strip() else _EMPTY)
        used = self._builder.task(INSTRUCTIONS, [self._yes_no], task).end
        if used >= self._most:
            detail = f"has {used} tokens or more, and the model reads {self._most} at once. Send less of it."
            raise too_long(("state",), detail)
        branches = {place: self._branches(asked, self._most - used) for place, asked in questions.items()}
        return OpenWork(task, branches, self._yes_no)

    def _branches(self, asked: Asked, room: int) -> Sequence[_Branch]:
        """One branch, or else one for each option.

        Raises:
            RefusedError: There is room for neither.
        """
        whole = [branch for branch in self._whole(asked) if self._fits(branch, room)]
        split = [self._of_option(asked, value) for value in asked.values] if not whole else []
        found = whole or [branch for branch in split if self._fits(branch, room)]
        if not found or len(found) < len(split):
            detail = f"does not fit into the {room} tokens that the state leaves of the model's {self._most}."
            raise too_long(asked.place, f"{detail} Send less of either.")
        return found

    def _whole(self, asked: Asked) -> Iterator[_Branch]:
        """A question with all of its options behind their labels; nothing where labels do not suffice."""
        words = " ".join(filter(None, (asked.wording, asked.criteria)))
        if not asked.options:
            yield _Branch(words, self._yes_no)
            return
        form = self._form(asked.values, is_scale=asked.kind is Kind.SCORE)
        try:
            labels = labels_for(form, self._builder.tokenizer)
        except ConfigError:
            return
        asks_in_labels = replace(form, values=tuple(map(Value, labels.texts)))
        yield _Branch(f"{words} {listed(form, labels)}".strip(), asks_in_labels)

    def _of_option(self, asked: Asked, value: Value) -> _Branch:
        """The question whether one option is the right one."""
        option = ": ".join(filter(None, (value.name, value.description)))
        return _Branch(f"{asked.wording} Is the answer: {option}?".strip(), self._yes_no)

    def _form(self, values: Sequence[Value], *, is_scale: bool = False) -> Question:
        return Question(
            marker=self._marker or (_LABEL if values else _YES_NO),
            wording=INSTRUCTIONS,
            adapter=self._adapter,
            threshold=0.0 if values else 0.5,
            values=tuple(values),
            is_scale=is_scale,
            is_open=True,
        )

    def _fits(self, branch: _Branch, room: int) -> bool:
        tokens = self._builder.tokenizer.encode(one_line(branch.asked), special=False)
        around = self._builder.question_tokens(branch.form) + len(
            self._builder.form.open_item
        )  # tokens have a character
        return len(tokens) + around <= room


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Branches below a state, in one request to the engine.

    Attributes:
        task: The state.
        branches: Place of a question in its request -> its branches.
        yes_no: The form of a yes/no question.
    """

    task: Task
    branches: Mapping[int, Sequence[_Branch]]
    yes_no: Question

    @property
    def n_calls(self) -> int:
        """How many calls of the model it takes."""
        return sum(map(len, self.branches.values()))

    async def run(self, engine: Engine) -> Report:
        """See ``Work.run``."""
        each = [branch for branches in self.branches.values() for branch in branches]
        stages = {form: f"form {at}" for at, form in enumerate(dict.fromkeys(branch.form for branch in each), 1)}
        items = [Item(id=str(at), kind="", name=branch.asked) for at, branch in enumerate(each)]
        own = {item.id: stages[branch.form] for item, branch in zip(items, each, strict=True)}
        return await engine.aask(self.task, items, _cascade(stages, self.yes_no), own)

    def read(self, report: Report) -> Iterator[tuple[int, Answered]]:
        """See ``Work.read``."""
        steps = (step for decision in report.decisions for step in decision.steps)
        for place, branches in self.branches.items():
            own = [next(steps) for _ in branches]
            yield place, _answered(own)


def _answered(steps: Sequence[Step]) -> Answered:
    first = steps[0]
    if len(steps) > 1:
        p = softmax(sure_logit([step.p_yes for step in steps]))
        return Answered(p=p.tolist(), more={"x_asked": "option by option"})
    return Answered(p=list(first.probabilities.values()) if first.probabilities else first.p_yes)


def _cascade(stages: Mapping[Question, str], yes_no: Question) -> Cascade:
    """A cascade of forms of answers; where these lead does not matter, for each item is asked one of them."""
    valued = {form: name for form, name in stages.items() if form != yes_no}
    last = stages.get(yes_no, f"form {len(stages) + 1}")
    after = [Target(name, is_label=False) for name in (*list(valued.values())[1:], last)]
    made = [
        Stage(name=name, questions={ANY_TIER: form}, next=dict.fromkeys(_answers(form), target))
        for (form, name), target in zip(valued.items(), after[-len(valued) :], strict=False)
    ]
    yes, no = Target("yes", is_label=True), Target("no", is_label=True)
    made.append(Stage(name=last, questions={ANY_TIER: yes_no}, yes=yes, no=no))
    return Cascade(name="open", instructions=INSTRUCTIONS, labels=("no", "yes"), stages=tuple(made))


def _answers(form: Question) -> Sequence[str]:
    """What a choice may answer; a score without cut points lies in the one part that there is."""
    return ["0"] if form.is_scale else [value.name for value in form.values]
