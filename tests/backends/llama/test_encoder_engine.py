"""A stage that an encoder answers, in an engine: alone, beside a decoder, within a budget, with locks and errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adapters.recipe.tiny_encoder import write_tiny
from cascade import Engine, Item, read_config
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.loaded import ContextSize
from cascade.config.lock import questions_at_hand
from cascade.errors import ConfigError, ItemError
from cascade.items import Group, Task
from cascade.probability import p_yes
from cascade.prompt import PAIR, Limits, PromptBuilder, prompt_format
from cascade.report import Status
from tests.backends.llama.test_encoder import write_lora
from tests.helpers.gguf_files import write_model

SAME = 1e-3  # in p(yes), as in test_encoder.py
TASK = "fix the parser of urls"
ITEMS = [
    Item(
        id=str(number),
        kind="function",
        name="parse" + "_url" * (number % 4),
        signature="(self, text)",
        doc="Returns the parts." * (number % 3),
        text="def parse(self): return self.cache[url]" * (number % 2),
        evidence=("matters7", "changes5", "body3"),
        group=Group(name=f"src/file{number % 3}.py", evidence=("words4",)),
        priority=float(number),
    )
    for number in range(30)
]
STAGES = """
[cascade.tickets]
labels = ["no", "yes", "sure"]
[[cascade.tickets.stages]]
name = "first"
marker = "yes"
question = "does it matter?"
adapter = "base"
yes = { stage = "second" }
no = { label = "no" }
threshold = 0.01
[[cascade.tickets.stages]]
name = "second"
question = "must it be changed?"
adapter = "reader/base"
reads = "text"
max_text_tokens = 20
yes = { label = "sure" }
no = { label = "yes" }
threshold = 0.4
"""
ALONE = """
[model]
path = "tiny.gguf"
n_threads = 1
limits = { task = 16, group = 16, item = 24 }
[cascade.tickets]
labels = ["no", "yes"]
[[cascade.tickets.stages]]
name = "first"
marker = "yes"
question = "must it be changed?"
adapter = "base"
reads = "text"
max_text_tokens = 20
yes = { label = "yes" }
no = { label = "no" }
"""
WAYS = 'yes = { label = "yes" }\nno = { label = "no" }\n'
READER = '[models.reader]\npath = "tiny.gguf"\nn_threads = 1\nlimits = { task = 16, group = 16, item = 24 }\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder and a tiny decoder."""
    found = tmp_path_factory.mktemp("models")
    write_tiny(found / "tiny.gguf")
    write_model(found / "decoder.gguf")
    return found


def config(folder: Path, text: str) -> Path:
    """A config file beside the models."""
    path = folder / f"config{abs(hash(text))}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    """An engine whose one model is the encoder."""
    with Engine.open(config(folder, ALONE)) as found:
        yield found


@pytest.fixture(scope="module")
def native(folder: Path) -> Iterator[NativeEncoder]:
    """The encoder by itself."""
    found = NativeEncoder(folder / "tiny.gguf", ContextSize(n_ctx=256, n_seq_max=8, n_batch=512, n_threads=1))
    yield found
    found.close()


def pair_of(native: NativeEncoder, item: Item) -> tuple[int, ...]:
    """The pair that a stage reads of an item."""
    build = PromptBuilder(prompt_format(PAIR), native.tokenizer, Limits(task=16, group=16, item=24))
    assert item.group is not None
    node = build.item(build.group(build.task("", (), Task(text=TASK)), item.group), item)
    return build.question(build.text(node, item, [20])[0], "first").prompt


def test_each_item_is_read_as_a_pair(engine: Engine, native: NativeEncoder) -> None:
    """Every p(yes) is the head's own for task and item alone, read with its text; nothing is kept."""
    report = engine.classify(TASK, ITEMS, "tickets")
    alone = [float(p_yes(native.encode([pair_of(native, item)]))[0]) for item in ITEMS]
    found = [decision.steps[0].p_yes for decision in report.decisions]
    assert np.abs(np.array(found) - alone).max() < SAME
    assert np.std(alone) > 0.01
    assert report.stats.tokens_reused == 0
    assert engine.n_cached == 0


def test_a_pair_has_the_form_that_models_were_trained_with(native: NativeEncoder) -> None:
    """The task, closed; path, item with two words of evidence, text; closed. No question, and no evidence of files."""
    encode = native.tokenizer.encode
    pair, item = pair_of(native, ITEMS[1]), ITEMS[1]
    line = "src/file1.py | function parse_url | #matters7 #changes5 | (self, text)"
    head = [*encode("src/file1.py", special=False), *encode(" | ", special=True)]
    told = encode(line.partition(" | ")[2], special=False)[:24]
    texts = [*encode(" | ", special=True), *encode(item.text, special=False)[:20]]
    first = [*encode("[CLS]", special=True), *encode(TASK, special=False)[:16], *encode("[SEP]", special=True)]
    assert list(pair[: len(first)]) == first
    assert list(pair[len(first) : len(first) + len(head)]) == head
    assert list(pair[len(first) + len(head) :][: len(told)]) == told
    assert list(pair[-len(texts) - 1 :]) == [*texts, *encode("[SEP]", special=True)]


def test_beside_a_decoder_it_reads_what_is_left(folder: Path, native: NativeEncoder) -> None:
    """A stage of the decoder comes first; the encoder answers for survivors as it does alone, under its own name."""
    path = config(folder, '[model]\npath = "decoder.gguf"\nn_threads = 1\nn_ctx = 1024\n' + READER + STAGES)
    with Engine.open(path) as both:
        report = both.classify(TASK, ITEMS, "tickets")
    assert {step.model for decision in report.decisions for step in decision.steps} == {"model", "reader"}
    assert report.provenance.models["reader"].prompt_format == PAIR
    asked = [
        (item, decision.steps[1])
        for item, decision in zip(ITEMS, report.decisions, strict=True)
        if len(decision.steps) > 1
    ]
    assert len(asked) > 5
    for item, step in asked:
        assert abs(step.p_yes - float(p_yes(native.encode([pair_of(native, item)]))[0])) < SAME


def test_a_budget_ends_between_pairs(engine: Engine) -> None:
    """Whatever the budget, every item has a label, and those that were read have the answer they have without one."""
    whole = {one.id: one.steps for one in engine.classify(TASK, ITEMS, "tickets").decisions}
    for budget in (1, 20, 100, 1_000):
        report = engine.classify(TASK, ITEMS, "tickets", budget=budget)
        for one in report.decisions:
            assert one.label in {"no", "yes"}
            assert one.status in {Status.DECIDED, Status.DEADLINE}
            assert one.status is Status.DEADLINE or abs(one.steps[0].p_yes - whole[one.id][0].p_yes) < SAME


def test_prices_are_those_of_whole_pairs(engine: Engine) -> None:
    """Every pair is computed in full, and what was computed is what was foretold to the cost model."""
    stats = engine.classify(TASK, ITEMS, "tickets").stats
    assert stats.calls == len(ITEMS)
    assert stats.tokens_decoded > 20 * len(ITEMS)
    assert stats.predicted_ms > 0


def test_another_encoder_breaks_the_lock(engine: Engine, folder: Path) -> None:
    """Thresholds are bound to the encoder's file and to what of an item it reads."""
    asked = read_config(config(folder, ALONE))
    longer = read_config(config(folder, ALONE.replace("max_text_tokens = 20", "max_text_tokens = 21")))
    found = [questions_at_hand(one, one.cascades()["tickets"], engine.info.provenance) for one in (asked, longer)]
    assert found[0] != found[1]
    assert len(engine.info.provenance.model) == 64


def test_a_pair_that_does_not_fit_is_refused(folder: Path) -> None:
    """The error names the item and the tokens, before anything is computed."""
    text = ALONE.replace("task = 16", "task = 90")
    with Engine.open(config(folder, text)) as short, pytest.raises(ItemError, match="the encoder reads 96"):
        short.classify("fix " * 90, ITEMS, "tickets")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "n_threads = 1",
            'n_threads = 1\nformat = "qwen3"',
            'model.format: "qwen3" is given, and the file holds an enc',
        ),
        ('path = "tiny.gguf"', 'path = "decoder.gguf"\nformat = "pair"', "the file holds a decoder"),
        ('reads = "text"', 'negated = "may it stay?"\nreads = "text"', "has negated"),
        (
            WAYS,
            'values = ["yes", "no"]\nnext = { yes = { label = "yes" } }',
            "has values, and adapter 'base' is an",
        ),
        (WAYS, 'levels = ["no", "yes"]\ncuts = [0.5]\nnext = [{ label = "no" }, { label = "yes" }]', "has values"),
    ],
)
def test_what_an_encoder_cannot_do_is_refused(folder: Path, before: str, after: str, words: str) -> None:
    """A format of decoders, an opposite question that it would not read, a choice, a score, and pairs for a decoder."""
    with pytest.raises(ConfigError, match=words):
        Engine.open(config(folder, ALONE.replace(before, after, 1)))


def test_an_adapter_of_an_encoder_is_swapped(folder: Path, tmp_path: Path) -> None:
    """Another file answers from the next request on, and the first one again after the way back, to the last bit."""
    text = ALONE.replace("[cascade.tickets]", f'[adapters]\nlora = "{tmp_path}/0.gguf"\n[cascade.tickets]')
    for at, target in enumerate(("attn_q", "attn_output")):
        write_lora(tmp_path / f"{at}.gguf", f"blk.1.{target}.weight", 32, 32)
    with Engine.open(config(folder, text.replace('adapter = "base"', 'adapter = "lora"'))) as engine:
        first = engine.score(TASK, ITEMS, "tickets")
        assert set(engine.swap_adapter("lora", tmp_path / "1.gguf").adapters) == {"lora"}
        other = engine.score(TASK, ITEMS, "tickets")
        engine.swap_adapter("lora", tmp_path / "0.gguf")
        assert engine.score(TASK, ITEMS, "tickets") == first
    assert other != first
