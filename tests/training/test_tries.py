"""From labelled tasks to what a step computes: prompts, targets, draws and what tokens see."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade.config.schema import read_config
from cascade.errors import InputError
from cascade.evaluation.dataset import read_labelled
from cascade.items import Task
from cascade.prompt import last_place
from cascade.training.draws import Draws, drawn
from cascade.training.examples import Example, amount, blend, examples, truth_target
from cascade.training.lesson import Lesson, find_lesson
from cascade.training.prepare import Prepared, Wishes, prepare
from cascade.training.teacher import ask_teacher, read_teacher
from cascade.training.tries import Packed, pack, packs
from cascade.training.unlabelled import read_unlabelled
from tests.training.lessons import CONFIG, row, tiny_config, write_rows


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    """The lesson of the second adapter, activated."""
    return find_lesson(tiny_config(tmp_path_factory.mktemp("lesson")), "second", is_activated=True)


def tries(lesson: Lesson, folder: Path, n_tasks: int = 3) -> list[Example]:
    """Tasks of a lesson."""
    rows = write_rows(folder / "rows.jsonl", n_tasks)
    return examples(lesson, read_labelled(rows, lesson.cascade))


def test_prompts_are_those_of_the_engine(lesson: Lesson, tmp_path: Path) -> None:
    """Each question's path through the trie is the prompt that the builder makes, from the task to the answer."""
    (labelled,) = read_labelled(write_rows(tmp_path / "one.jsonl", 1), lesson.cascade)
    (example,) = examples(lesson, [labelled])
    build = lesson.builder
    root = build.task(lesson.cascade.instructions, lesson.cascade.questions(), labelled.task)
    for ask in example.asks:
        (item,) = (item for item in labelled.items if item.id == ask.item)
        node = build.item(build.group(root, item.group) if item.group else root, item)
        own, place = list(ask.tokens), ask.span
        while place >= 0:
            own = [*example.spans[place].tokens, *own]
            place = example.spans[place].above
        assert tuple(own) == build.question(node, "b").prompt


def test_only_items_whose_label_decides_are_asked(lesson: Lesson, tmp_path: Path) -> None:
    """Items that the first stage drops have no true answer to the second question; yes is in, no is far."""
    found = tries(lesson, tmp_path)
    labels = [item["label"] for number in range(3) for item in row(number)["items"]]  # type: ignore[attr-defined]  # JSON
    trues = [ask.true for example in found for ask in example.asks]
    assert trues == [(1.0, 0.0) if label == "in" else (0.0, 1.0) for label in labels if label != "out"]
    assert amount(found).items == len(trues)
    assert amount(found).rare == min(trues.count((1.0, 0.0)), trues.count((0.0, 1.0)))


def test_an_activated_adapter_acts_from_its_invocation_on(lesson: Lesson, tmp_path: Path) -> None:
    """In a pack it acts on the question's tokens alone; of a plain one the mask is not read."""
    found = tries(lesson, tmp_path)
    packed = pack([(example, [(ask, 1.0) for ask in example.asks]) for example in found])
    assert not packed.active[: packed.n_shared].any()
    assert packed.active[packed.n_shared :].all()
    assert last_place(lesson.invocation, found[0].asks[0].tokens) == found[0].asks[0].active_from == 0
    assert len(packed.ends) == sum(len(example.asks) for example in found)


def test_tokens_see_their_own_path_alone(lesson: Lesson, tmp_path: Path) -> None:
    """What the last token of a question sees is its prompt, in order, at positions from 0 on."""
    found = tries(lesson, tmp_path)
    packed = pack([(example, [(ask, 1.0) for ask in example.asks]) for example in found])
    asks = [(example, ask) for example in found for ask in example.asks]
    for (example, ask), end in zip(asks, packed.ends, strict=True):
        seen = np.flatnonzero(packed.sees[end])
        path, place = list(ask.tokens), ask.span
        while place >= 0:
            path = [*example.spans[place].tokens, *path]
            place = example.spans[place].above
        by_position = seen[np.argsort(packed.positions[seen])]
        assert packed.tokens[by_position].tolist() == path
        assert packed.positions[by_position].tolist() == list(range(len(path)))


def test_packs_hold_every_question_once(lesson: Lesson, tmp_path: Path) -> None:
    """However small packs are, all questions are in some; small ones hold no more tokens than they may."""
    found = tries(lesson, tmp_path)
    draw = [(example, [(ask, 1.0) for ask in example.asks]) for example in found]
    whole = pack(draw)
    longest = max(packed.tokens.size for packed in packs(draw, 1))
    for most in (1, longest, 10_000):
        some: list[Packed] = list(packs(draw, most))
        assert sum(packed.ends.size for packed in some) == whole.ends.size
        assert all(packed.tokens.size <= max(most, longest) for packed in some)
    assert len(list(packs(draw, 10_000))) == 1


def test_draws_hang_on_seed_and_step_alone(lesson: Lesson, tmp_path: Path) -> None:
    """The same step is the same draw again; every task comes once before any comes twice."""
    found = tries(lesson, tmp_path, 9)
    draws = Draws(found, 3, 4, seed=5)
    assert draws.at(4) == Draws(found, 3, 4, seed=5).at(4)
    first = [example.task for step in range(3) for example, _ in draws.at(step)]
    assert sorted(first) == sorted(example.task for example in found)
    second = [example.task for step in range(3, 6) for example, _ in draws.at(step)]
    assert sorted(second) == sorted(first)
    assert second != first


def test_what_is_drawn_stands_for_all(lesson: Lesson, tmp_path: Path) -> None:
    """Of many questions the rarer answers are kept first, and weights sum to what each answer had."""
    (base, *_) = tries(lesson, tmp_path)[0].asks
    asks = [replace(base, item=str(at), target=(1.0, 0.0) if at < 3 else (0.0, 1.0)) for at in range(40)]
    some = drawn(asks, 10, random.Random(1))
    assert len(some) == 10
    by_answer = {answer: sum(w for ask, w in some if ask.target[0] == answer) for answer in (1.0, 0.0)}
    assert by_answer == {1.0: pytest.approx(3), 0.0: pytest.approx(37)}
    assert drawn(asks[:5], 10, random.Random(1)) == [(ask, 1.0) for ask in asks[:5]]


def test_an_item_is_drawn_with_all_its_questions(lesson: Lesson, tmp_path: Path) -> None:
    """What is read of it counts for each of them; half of the places go to items that are answered otherwise."""
    (base, *_) = tries(lesson, tmp_path)[0].asks
    asks = [
        replace(base, item=str(at), question=question, target=(1.0, 0.0) if at < 4 else (0.0, 1.0))
        for at in range(30)
        for question in range(3)
    ]
    some = drawn(asks, 12, random.Random(1))
    by_item = Counter(ask.item for ask, _ in some)
    assert set(by_item.values()) == {3}
    assert sum(int(item) < 4 for item in by_item) == len(by_item) / 2 == 2
    assert sum(weight for _, weight in some) == pytest.approx(90)


def test_weights_and_teachers_count(lesson: Lesson, tmp_path: Path) -> None:
    """An item of weight 0 is not asked; a teacher is blended with the truth, and alone where that is unknown."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row(0, weight=0.5)), encoding="utf-8")
    (labelled,) = read_labelled(path, lesson.cascade)
    teacher = {(labelled.task.id, item.id, "b"): (0.25, 0.75) for item in labelled.items}
    (example,) = examples(lesson, [labelled], teacher, trust=0.6)
    assert len(example.asks) == len(labelled.items)
    for ask, label in zip(example.asks, labelled.labels, strict=True):
        due = {"in": 0.6 * 0.25 + 0.4, "far": 0.6 * 0.25, "out": 0.25}[label]
        assert ask.target == pytest.approx((due, 1 - due))
        assert ask.weight == 0.5
        assert bool(ask.true) is (label != "out")
    assert not examples(lesson, [replace(labelled, weights=(0.0,) * len(labelled.items))], teacher, 0.6)
    assert blend(None, None, 0.5) is None


CHOICE = """
[cascade.kinds]
instructions = "Sort."
labels = ["out", "in", "far"]

[[cascade.kinds.stages]]
name = "a"
question = "which?"
adapter = "first"
values = ["out", "in", "far"]
"""


def test_choices_learn_their_values(tmp_path: Path) -> None:
    """A choice's targets are its values, by label tokens of its own; which cascade is meant must be said."""
    config = tiny_config(tmp_path)
    path = tmp_path / "cascade.toml"
    path.write_text(CONFIG + CHOICE, encoding="utf-8")
    config = read_config(path)
    with pytest.raises(InputError, match=r"answers in the cascades two, kinds\. Say which one is meant with --cascade"):
        find_lesson(config, "first")
    lesson = find_lesson(config, "first", "kinds")
    (asked,) = lesson.asked
    assert len(set(asked.labels)) == 3
    assert truth_target(asked, "in") == (0.0, 1.0, 0.0)
    assert truth_target(asked, None) is None
    (found,) = examples(lesson, read_labelled(write_rows(tmp_path / "rows.jsonl", 1), lesson.cascade))
    assert {sum(ask.true) for ask in found.asks} == {1.0}
    assert len(found.asks) == 6


@pytest.mark.parametrize(
    ("adapter", "cascade", "words"),
    [
        ("third", None, r"Unknown adapter 'third'; the map \[adapters\] has first, second\. Add it there"),
        ("first", "three", r"Unknown cascade 'three'; there are two\."),
    ],
)
def test_what_nobody_asks_is_refused(tmp_path: Path, adapter: str, cascade: str | None, words: str) -> None:
    """An adapter that the map lacks and a cascade that the config lacks are refused with those that there are."""
    with pytest.raises(InputError, match=words):
        find_lesson(tiny_config(tmp_path), adapter, cascade)


def test_a_teacher_may_be_a_file(lesson: Lesson, tmp_path: Path) -> None:
    """Lines name task, seeds and item; what does not fit the question is refused with its line."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"task": "t0", "item": "3", "p": 0.75}), encoding="utf-8")
    assert read_teacher(path, lesson) == {(Task(text="t0").id, "3", "b"): (0.75, 0.25)}
    for bad, words in (
        ({"task": "t0", "item": "3", "p": 1.5}, "field 'p"),
        ({"task": "t0", "item": "3", "p": {"a": 0.5}}, "field 'p'.*it must be one number"),
        ({"task": "t0", "item": "3", "question": "z", "p": 0.5}, "field 'question'.*answers b"),
    ):
        path.write_text(json.dumps(bad), encoding="utf-8")
        with pytest.raises(InputError, match=f"line 1: {words}"):
            read_teacher(path, lesson)
    path.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="says nothing of any item"):
        read_teacher(path, lesson)


def test_a_teacher_is_asked_once_for_one_plan_and_its_tasks(lesson: Lesson, tmp_path: Path) -> None:
    """Answers that are kept count for the very plan and tasks alone; damaged ones are asked for anew."""
    tasks = list(read_labelled(write_rows(tmp_path / "rows.jsonl", 2, 2), lesson.cascade))
    kept = tmp_path / "kept.jsonl"
    asked = ask_teacher(lesson, "base", tasks, kept, "one plan")
    head, *rows = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    assert asked
    assert len(asked) == len(rows)
    mine = "".join(json.dumps(each) + "\n" for each in (head, *(each | {"p": [0.5, 0.5]} for each in rows)))
    kept.write_text(mine, encoding="utf-8")
    assert set(ask_teacher(lesson, "base", tasks, kept, "one plan").values()) == {(0.5, 0.5)}
    some = ask_teacher(lesson, "base", tasks[:1], kept, "one plan")
    assert {task for task, _, _ in some} == {tasks[0].task.id}
    assert (0.5, 0.5) not in some.values()
    for plan, told in (("another plan", mine), ("one plan", json.dumps(head) + '\n{"a": 1}\n')):
        kept.write_text(told, encoding="utf-8")
        assert ask_teacher(lesson, "base", tasks, kept, plan) == asked


def test_a_start_that_fails_blocks_nothing(tmp_path: Path) -> None:
    """A teacher that cannot be asked is refused, and the corrected call begins."""
    config, rows = tiny_config(tmp_path), write_rows(tmp_path / "rows.jsonl", 50)

    def prepared(teacher: str | None) -> Prepared:
        return prepare(config, Wishes(adapter="first", data=[rows], out=tmp_path / "out", teacher=teacher), str)

    with pytest.raises(InputError, match="zzz/base"):
        prepared("zzz/base")
    assert not prepared(None).settled
    assert prepared("base").run.answers.exists()


def test_unlabelled_tasks_are_learned_from_a_teacher_alone(lesson: Lesson, tmp_path: Path) -> None:
    """Their labels are not read; tasks that are labelled elsewhere are left out, and bad lines are named."""
    path, told = write_rows(tmp_path / "more.jsonl", 3), list[str]()
    others = {Task(text="t1").id}
    found = read_unlabelled([path], lesson.cascade, others, told.append)
    assert [labelled.task.text for labelled in found] == ["t0", "t2"]
    assert told == ["1 unlabelled task is labelled elsewhere, and left out"]
    assert not examples(lesson, found)
    teacher = {(found[0].task.id, "1", "b"): (0.25, 0.75)}
    (example,) = examples(lesson, found, teacher, trust=0.6)
    assert [(ask.item, ask.true, ask.target) for ask in example.asks] == [("1", (), (0.25, 0.75))]
    twice = {"task": "t", "items": [{"id": "1", "name": "a"}, {"id": "1", "name": "b"}]}
    path.write_text(json.dumps(twice), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1: field 'items': an id stands there twice"):
        read_unlabelled([path], lesson.cascade, (), told.append)
    path.write_text(json.dumps({"task": "t", "items": [{"id": "1"}]}), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1: field 'items\.0\.name'"):
        read_unlabelled([path], lesson.cascade, (), told.append)
