"""Two base models in one engine on the real llama.cpp: each answers as it does alone, whatever the other computes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade import Budget, Config, Engine, Item, Report, Task
from cascade.backends import open_any
from cascade.backends.base import Batch, Query, Stop
from cascade.backends.llama.native import ContextSize
from cascade.config.lock import questions_at_hand
from cascade.config.schema import read_config, shipped_config
from cascade.errors import ConfigError, ModelFileError
from cascade.models.gguf import read_gguf
from cascade.models.model_set import file_hash, load_model_sets
from cascade.prompt import PromptBuilder, prompt_format
from cascade.stages import ANY_TIER, Question, Stage
from cascade.tree import Cascade
from tests.helpers.requests import symbols
from tests.helpers.rig import Rig
from tests.helpers.smollm2 import smollm2_file

TOLERANCE = 2e-3
SHIPPED = shipped_config().parent
WIDE = ContextSize(n_ctx=2_048, n_seq_max=64, n_batch=512, n_threads=1)

MAP = """
[models.small]
path = "{shipped}/embedded.gguf"
n_ctx = {n_ctx}
n_seq_max = {n_seq}
n_batch = 96
n_threads = 1

[models.large]
path = "large.gguf"
n_ctx = {n_ctx}
n_seq_max = {n_seq}
n_batch = 96
n_threads = 1

[adapters]
relevant = "{shipped}/relevant.gguf"
supporting = "{shipped}/supporting.gguf"
metadata = "metadata.gguf"
primary = "primary.gguf"

[cascade.c]
instructions = "Which code symbols matter for the task?"
labels = ["no", "unlikely", "likely", "yes"]

[[cascade.c.stages]]
name = "relevant"
question = "does this symbol matter at all?"
adapter = "relevant"
threshold = 0.01
yes = {{ stage = "primary" }}
no = {{ label = "no" }}

[[cascade.c.stages]]
name = "primary"
question = "must it be changed?"
adapter = "primary"
threshold = 0.3
yes = {{ stage = "metadata" }}
no = {{ stage = "supporting" }}

[[cascade.c.stages]]
name = "supporting"
question = "is it called or used, not just a type?"
adapter = "supporting"
threshold = 0.5
yes = {{ label = "likely" }}
no = {{ stage = "large" }}

[[cascade.c.stages]]
name = "large"
question = "is it used?"
adapter = "large/base"
threshold = 0.5
yes = {{ stage = "small" }}
no = {{ label = "unlikely" }}

[[cascade.c.stages]]
name = "small"
question = "is it named?"
adapter = "small/base"
threshold = 0.5
yes = {{ label = "likely" }}
no = {{ label = "unlikely" }}

[[cascade.c.stages]]
name = "metadata"
question = "do they match?"
adapter = "metadata"
threshold = 0.4
yes = {{ label = "yes" }}
no = {{ label = "likely" }}
"""


def write_other(path: Path) -> Path:
    """The shipped model with other weights."""
    source = SHIPPED / "embedded.gguf"
    data = bytearray(source.read_bytes())
    tensors = read_gguf(source).tensors
    for name in ("blk.1.ffn_down.weight", "blk.3.attn_output.weight"):
        tensor = tensors[name]
        weights = np.frombuffer(data, "<f2", tensor.n_bytes // 2, tensor.offset)
        weights[:] = weights[::-1]
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large model, two adapters that were made for it, and configs of both models with much and little room."""
    folder = tmp_path_factory.mktemp("models")
    other = write_other(folder / "large.gguf")
    ours, theirs = file_hash(SHIPPED / "embedded.gguf").encode(), file_hash(other).encode()
    for name in ("primary.gguf", "metadata.gguf"):
        (folder / name).write_bytes((SHIPPED / name).read_bytes().replace(ours, theirs))
    for name, n_ctx, n_seq in (("wide", 2_048, 64), ("tight", 768, 10)):
        text = MAP.format(shipped=SHIPPED, n_ctx=n_ctx, n_seq=n_seq)
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


class Cold:
    """Answers of both models to single prompts in empty caches."""

    def __init__(self, config: Config) -> None:
        self.sets = load_model_sets(config)
        self.cascade = config.cascades()["c"]
        self.rigs = {name: Rig(each, WIDE) for name, each in self.sets.items()}

    def model_of(self, question: Question) -> str:
        """The model that answers a question."""
        return next(n for n, each in self.sets.items() if question.adapter in {each.base, *each.adapters})

    def p(self, task: Task, item: Item, stage: str) -> float:
        """A stage's probability of yes, with the prompts of its model built anew."""
        question = self.cascade.stage(stage).question(ANY_TIER)
        model = self.model_of(question)
        rig = self.rigs[model]
        own = [each for each in self.cascade.questions() if self.model_of(each) == model]
        builder = PromptBuilder(prompt_format("embedded"), rig.native.tokenizer)
        parent = builder.task(self.cascade.instructions, own, task)
        if item.group is not None:
            parent = builder.group(parent, item.group)
        node = builder.question(builder.item(parent, item), question.marker)
        adapter = "base" if question.adapter == self.sets[model].base else question.adapter
        return rig.cold(Query(node, adapter))

    def close(self) -> None:
        """Free both."""
        for rig in self.rigs.values():
            rig.native.close()


@pytest.fixture(scope="module")
def cold(folder: Path) -> Iterator[Cold]:
    """Both models, each by itself."""
    found = Cold(read_config(folder / "wide.toml"))
    yield found
    found.close()


def check(report: Report, task: Task, items: list[Item], cold: Cold) -> set[tuple[str, str]]:
    """Hold every step against a cold prompt; returns the models and stages that were asked."""
    seen = set()
    for decision, item in zip(report.decisions, items, strict=True):
        for step in decision.steps:
            assert step.p_yes == pytest.approx(cold.p(task, item, step.stage), abs=TOLERANCE), (item.id, step)
            seen.add((step.model, step.stage))
    return seen


def test_every_answer_is_that_of_a_cold_prompt(folder: Path, cold: Cold) -> None:
    """Items that go to and fro between two models are answered as each model answers alone in an empty cache."""
    task, items = symbols(3, 24)
    with Engine.open(folder / "wide.toml") as engine:
        report = engine.classify(task, items, cascade="c")
        assert engine.n_cached == 0
    seen = check(report, task, items, cold)
    assert {model for model, _ in seen} == {"small", "large"}
    assert {"relevant", "primary"} < {stage for _, stage in seen}
    assert report.provenance.models["large"].model == file_hash(folder / "large.gguf")
    # The models differ, so that an answer of the wrong one would have been seen.
    question = replace(cold.cascade.stage("small").question(ANY_TIER))
    assert cold.model_of(question) == "small"
    differ = [abs(cold.p(task, item, "large") - cold.p(task, item, "small")) for item in items[:6]]
    assert max(differ) > 10 * TOLERANCE


def test_every_stage_of_both_models_scores_as_alone(folder: Path, cold: Cold) -> None:
    """Putting all stages to all items in small caches, evictions included, gives what cold prompts give."""
    task, items = symbols(5, 9)
    with Engine.open(folder / "tight.toml") as engine:
        steps = engine.score(task, items, "c")
    for item, own in zip(items, steps, strict=True):
        assert {step.stage for step in own} == {stage.name for stage in cold.cascade.stages}
        for step in own:
            assert step.p_yes == pytest.approx(cold.p(task, item, step.stage), abs=TOLERANCE), (item.id, step)


@pytest.mark.slow
def test_callers_at_once_in_small_caches(folder: Path, cold: Cold) -> None:
    """Requests from several threads, some with a deadline, mix in the waves of both models and change no answer."""
    asked = [symbols(seed, 12) for seed in range(6)]
    with Engine.open(folder / "tight.toml") as engine, ThreadPoolExecutor(6) as pool:
        budgets = (None, Budget(ms=60_000), None, Budget(ms=60_000), None, Budget(depth=1))
        calls = [
            pool.submit(engine.classify, task, items, "c", budget=budget)
            for (task, items), budget in zip(asked, budgets, strict=True)
        ]
        reports = [call.result() for call in calls]
        assert engine.n_cached == 0
    for (task, items), report in zip(asked, reports, strict=True):
        check(report, task, items, cold)


def test_at_once_every_answer_is_that_in_turn_to_the_last_bit(folder: Path) -> None:
    """Batches of both models score the same beside each other, on all threads, as one after the other."""
    config = read_config(folder / "wide.toml")
    models = {name: each.model_copy(update={"n_threads": 0}) for name, each in config.models.items()}
    config = config.model_copy(update={"models": models})
    tree = config.cascades()["c"]
    asked = {"small": tree.first.question(ANY_TIER), "large": tree.stage("primary").question(ANY_TIER)}

    async def answers(*, at_once: bool) -> dict[str, list[list[float]]]:
        opened = open_any(config, {"c": tree})

        async def ask(name: str) -> list[list[float]]:
            backend, question, found = opened[name], asked[name], []
            build = PromptBuilder(backend.info.form, backend.info.tokenizer)
            for task, items in (symbols(seed, 24) for seed in range(4)):
                root = build.task("Which matter?", [question], task)
                nodes = [build.question(build.item(root, item), question.marker) for item in items]
                batch = Batch(tuple(Query(node, question.adapter) for node in nodes))
                found.append([*(await backend.score(batch, Stop())).logits])
                backend.release([root])
            return found

        if at_once:
            small, large = await asyncio.gather(ask("small"), ask("large"))
        else:
            small, large = await ask("small"), await ask("large")
        for backend in opened.values():
            await backend.close()
        return {"small": small, "large": large}

    in_turn, at_once = asyncio.run(answers(at_once=False)), asyncio.run(answers(at_once=True))
    assert at_once == in_turn
    assert all(len({*logits}) > 12 for own in in_turn.values() for logits in own)


def test_a_stop_in_the_middle_leaves_both_sound(folder: Path, cold: Cold) -> None:
    """After requests that were cut by their deadlines or dropped, both models still answer as ever."""
    task, items = symbols(7, 40)
    with Engine.open(folder / "tight.toml") as engine:
        for ms in (1, 5, 20, 60):
            report = engine.classify(task, items, cascade="c", budget=ms)
            assert all(decision.label for decision in report.decisions)

        async def drop() -> None:
            call = asyncio.ensure_future(engine.aclassify(task, items, "c", budget=None))
            await asyncio.sleep(0.05)
            call.cancel()

        asyncio.run(drop())
        few = items[:6]
        check(engine.classify(task, few, cascade="c", budget=None), task, few, cold)
        assert engine.n_cached == 0


def test_a_failure_while_opening_frees_what_was_open(folder: Path, tmp_path: Path) -> None:
    """Where the second model cannot be opened, the error names it, and the first is let go."""
    config = read_config(folder / "wide.toml")
    long = config.cascade["c"].stages[1].model_copy(update={"marker": "one two three four five six"})
    stages = (config.cascade["c"].stages[0], long, *config.cascade["c"].stages[2:])
    tree = config.cascade["c"].model_copy(update={"stages": stages})
    with pytest.raises(ConfigError, match=r"base model 'large' cannot be opened\. .*marker 'one two"):
        Engine.open(config.model_copy(update={"cascade": {"c": tree}}))
    gone = config.models["large"].model_copy(update={"path": tmp_path / "gone.gguf"})
    with pytest.raises(ModelFileError, match=r"^models\.large\.path"):
        open_any(config.model_copy(update={"models": {**config.models, "large": gone}}), config.cascades())


def test_locks_know_both_models(folder: Path) -> None:
    """The fingerprint of questions has the limits of every model that is asked, and of no other."""
    config = read_config(folder / "wide.toml")
    with Engine.open(config) as engine:
        both = engine.info.provenance_of(engine.cascade("c"))
        first = replace(engine.cascade("c"), labels=("no", "yes"), stages=(_alone(engine.cascade("c")),))
        one = engine.info.provenance_of(first)
    limits = config.models["large"].limits.model_copy(update={"item": 9})
    other = config.models["large"].model_copy(update={"limits": limits})
    changed = config.model_copy(update={"models": {**config.models, "large": other}})
    tree = config.cascades()["c"]
    assert questions_at_hand(config, tree, both) != questions_at_hand(changed, tree, both)
    assert questions_at_hand(config, first, one) == questions_at_hand(changed, first, one)
    single = config.of_model("small", {"relevant"})
    assert questions_at_hand(single, first, replace(one, name="")) == questions_at_hand(config, first, one)


def _alone(cascade: Cascade) -> Stage:
    first = cascade.first
    return replace(first, yes=replace(first.no, name="yes"))


def test_the_map_is_found_by_hash(folder: Path) -> None:
    """Adapters without a key belong to the model that their file names."""
    sets = load_model_sets(read_config(folder / "wide.toml"))
    assert {name: sorted(each.adapters) for name, each in sets.items()} == {
        "small": ["relevant", "supporting"],
        "large": ["metadata", "primary"],
    }


def test_smollm2_beside_the_shipped_model(tmp_path: Path) -> None:
    """The shipped model asks first, and SmolLM2-135M-Instruct is asked of those that it keeps."""
    path = smollm2_file()
    text = f"""
    extends = "shipped"
    [models.large]
    path = "{path}"
    format = "qwen3"
    n_ctx = 1024
    [cascade.escalated]
    labels = ["excluded", "primary"]
    [[cascade.escalated.stages]]
    name = "relevant"
    question = "does this symbol matter at all?"
    adapter = "relevant"
    threshold = 0.02
    yes = {{ stage = "sure" }}
    no = {{ label = "excluded" }}
    [[cascade.escalated.stages]]
    name = "sure"
    question = "must this symbol be changed for the task?"
    adapter = "large/base"
    yes = {{ label = "primary" }}
    no = {{ label = "excluded" }}
    """
    file = tmp_path / "both.toml"
    file.write_text(text, encoding="utf-8")
    task, items = symbols(1, 20)
    with Engine.open(file) as engine:
        report = engine.classify(task, items, cascade="escalated", budget=None)
        alone = engine.score(task, items[:3], "escalated", "sure")
        assert engine.n_cached == 0
    asked = [decision for decision in report.decisions if len(decision.steps) > 1]
    assert {step.model for decision in report.decisions for step in decision.steps} <= {"model", "large"}
    assert all(decision.steps[1].model == "large" for decision in asked)
    of_id = {decision.id: decision for decision in asked}
    for item, (step,) in zip(items[:3], alone, strict=True):
        if item.id in of_id:
            # Alone as well, its Q4_1 weights give p(yes) that differ by 0.011 between a batch and single prompts.
            assert of_id[item.id].steps[1].p_yes == pytest.approx(step.p_yes, abs=0.02)
