"""The embedded backend against the real llama.cpp with the shipped model: answers are right.

"Cold" is the yardstick everywhere: one query alone in an empty cache.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import Config, Engine, Item, Task, read_config
from cascade.backends.base import Batch, Query
from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import NativeModel
from cascade.backends.llama.open import open_backend
from cascade.backends.llama.runner import LlamaRunner
from cascade.config.stages import StageConfig
from cascade.errors import ConfigError, InputError, ModelFileError
from cascade.models.model_set import ModelSet, load_model_set
from cascade.probability import p_yes
from cascade.prompt import Limits, Node, PromptBuilder, Segment, one_line, prompt_format
from cascade.stages import BASE, Question, Target
from cascade.tree import Cascade
from tests.helpers.asyncs import run
from tests.helpers.gguf_files import TOKENS, Lora, write_adapter, write_model
from tests.helpers.requests import files, symbols
from tests.helpers.rig import LARGE, LeakyRunner, Rig, queries_of

TOLERANCE = 1e-3
GOLDEN = Path(__file__).parents[2] / "golden"


def _request(name: str, seed: int, n: int) -> tuple[Task, list[Item]]:
    return symbols(seed, n) if name == "precision" else files(seed, n)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["precision", "scope"])
def test_batched_forked_and_chunked_scores_equal_cold_ones(name: str, config: Config, large: Rig, small: Rig) -> None:
    """Every stage and adapter scores the same in a batch, in chunks, and alone in a fresh cache."""
    cascade = config.cascades()[name]
    task, items = _request(name, 11, 24)
    for adapter, queries in queries_of(large, cascade, task, items).items():
        batch, chunked = large.score(queries), small.score(queries)
        for at in range(0, len(queries), 5):
            cold = large.cold(queries[at])
            assert batch[at] == pytest.approx(cold, abs=TOLERANCE), adapter
            assert chunked[at] == pytest.approx(cold, abs=TOLERANCE), adapter


def test_order_and_company_do_not_matter(config: Config, large: Rig) -> None:
    """A query scores the same wherever it stands in a batch and whatever stands beside it."""
    queries = queries_of(large, config.cascades()["precision"], *symbols(5, 30))["relevant"]
    straight = large.score(queries)
    shuffled = random.Random(1).sample(range(len(queries)), len(queries))
    again = large.score([queries[at] for at in shuffled])
    alone = large.score(queries[7:9])
    assert [again[shuffled.index(at)] for at in range(len(queries))] == pytest.approx(straight, abs=TOLERANCE)
    assert alone == pytest.approx(straight[7:9], abs=TOLERANCE)


def _worst_difference(rig: Rig, yardstick: Rig, cascades: Mapping[str, Cascade], n_requests: int) -> float:
    """The largest |dp| of seeded batches, tasks and adapters interleaved, against cold runs of a sample."""
    rng = random.Random(42)
    open_requests: list[list[Query]] = []
    worst = 0.0
    for number in range(n_requests):
        name = rng.choice(("precision", "scope"))
        by_adapter = queries_of(rig, cascades[name], *_request(name, number, rng.randint(1, 6)))
        open_requests += by_adapter.values()
        while len(open_requests) > 4:
            queries = open_requests.pop(rng.randrange(len(open_requests)))
            scores = rig.score(queries)
            at = rng.randrange(len(queries))
            worst = max(worst, abs(scores[at] - yardstick.cold(queries[at])))
        if rng.random() < 0.1:
            rig.runner.release([query.node.path[0] for query in rng.choice(open_requests)])
    return worst


@pytest.mark.slow
def test_randomised_multi_adapter_runs_equal_cold_runs(
    config: Config, models: ModelSet, small: Rig, large: Rig
) -> None:
    """Hundreds of interleaved requests under six adapters: no score strays; a planted leak is caught."""
    cascades = config.cascades()
    small.empty()
    assert _worst_difference(small, large, cascades, 200) <= TOLERANCE
    leaky = Rig(models, LARGE, LeakyRunner)
    try:
        assert _worst_difference(leaky, large, cascades, 100) > 10 * TOLERANCE
    finally:
        leaky.native.close()


@pytest.mark.slow
def test_a_cache_is_empty_after_its_requests(config: Config, small: Rig) -> None:
    """No cell and no sequence outlives the release of its task."""
    small.empty()
    for seed in range(8):
        for queries in queries_of(small, config.cascades()["scope"], *files(seed, 5)).values():
            small.score(queries)
            small.runner.release({query.node.path[0] for query in queries})
    assert (len(small.runner.store), small.runner.store.cells_used) == (0, 0)


def test_activated_adapters_share_the_base_models_cache(config: Config, large: Rig) -> None:
    """A later stage of activated LoRA decodes its question's tokens and nothing else."""
    large.empty()
    by_adapter = queries_of(large, config.cascades()["precision"], *symbols(9, 12))
    large.score(by_adapter["relevant"])
    cost = large.runner.score(Batch(tuple(by_adapter["primary"]))).cost
    assert cost.tokens_decoded == sum(len(query.node.tokens) for query in by_adapter["primary"])
    assert (cost.decode_calls, cost.adapter_swaps) == (1, 1)
    large.empty()


def test_plain_adapters_compute_their_own_cache(config: Config, large: Rig) -> None:
    """Each plain LoRA decodes task and items again under itself."""
    large.empty()
    by_adapter = queries_of(large, config.cascades()["scope"], *files(9, 6))
    costs = [large.runner.score(Batch(tuple(by_adapter[name]))).cost for name in ("dependency", "co_change")]
    nodes = {node for query in by_adapter["dependency"] for node in query.node.path}
    assert costs[0].tokens_decoded == sum(len(node.tokens) for node in nodes)
    assert costs[1].tokens_decoded == costs[0].tokens_decoded + sum(
        len(b.node.tokens) - len(a.node.tokens)
        for a, b in zip(by_adapter["dependency"], by_adapter["co_change"], strict=True)
    )
    large.empty()


@pytest.mark.slow
def test_scores_equal_transformers_and_peft(models: ModelSet, large: Rig) -> None:
    """Logits of the torch model and its PEFT adapters, computed at export, give the same p(yes)."""
    entries = json.loads((GOLDEN / "logits.json").read_text(encoding="utf-8"))
    adapters = {entry["adapter"] for entry in entries}
    assert adapters == {BASE, *models.adapters}
    for entry in entries:
        tokens = entry["tokens"]
        item = Node(None, Segment.ITEM, tuple(tokens[: -entry["question"]]))
        question = Node(item, Segment.QUESTION, tuple(tokens[-entry["question"] :]))
        expected = p_yes(entry["logits"][0] - entry["logits"][1])
        assert large.cold(Query(question, entry["adapter"])) == pytest.approx(expected, abs=0.02), entry["marker"]


def test_tokens_equal_the_training_tokenizers(large: Rig) -> None:
    """llama.cpp splits awkward texts as the tokenizer did that the model was trained with."""
    for entry in json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8")):
        assert large.native.tokenizer.encode(entry["text"], special=False) == entry["tokens"], repr(entry["text"])


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 32, 72, 128, 1_000])
def test_the_first_tokens_of_a_long_text_are_those_of_the_whole(large: Rig, limit: int) -> None:
    """Tokens do not depend on how much of a long text is read: with and without spaces, in any script, repeated."""
    rng = random.Random(limit)
    code = " ".join(Path(__file__).read_text(encoding="utf-8").split())
    scripts = [(0x4E00, 0x9FFF), (0xE0, 0x2FF), (0x600, 0x6FF), (0x1F300, 0x1F9FF)]
    letters = "".join(chr(rng.randrange(*rng.choice(scripts))) for _ in range(20_000))
    mixed = "".join(rng.choice([code[at : at + 7], letters[at : at + 2], "==", " ", "a\u0301"]) for at in range(9_000))
    texts = [
        code * 3,
        code.replace(" ", "") * 3,
        letters,
        mixed,
        *(unit * 10_000 for unit in ("y", "yes", "ab ", "<|")),
    ]
    tokenizer = large.native.tokenizer
    builder = PromptBuilder(prompt_format("embedded"), tokenizer, Limits(item=limit))
    root = builder.task("", (), Task(text="t"))
    for text in texts:
        line = one_line(f"k {text[rng.randrange(10) :]}")
        _, *found = builder.item(root, Item(id="1", kind="k", name=line[2:])).tokens  # without the format's own
        assert found == tokenizer.encode(line, special=False)[:limit], line[:20]


def test_outside_text_never_becomes_a_special_token(large: Rig) -> None:
    """A document that spells the format's markers is only text."""
    specials = set(large.native.tokenizer.encode("<|endoftext|><|task|><|group|><|item|><|ask|>", special=True))
    assert len(specials) == 5
    item = Item(id="x", kind="function", name="<|ask|>", doc="<|item|> yes <|endoftext|> <|task|>")
    root = large.builder.task(
        "do", [Question(marker="m", wording="w?", adapter=BASE, threshold=0.5)], Task(text="<|ask|>")
    )
    node = large.builder.item(root, item)
    assert [token for token in root.tokens if token in specials] == list(root.tokens[:1])
    assert [token for token in node.tokens if token in specials] == list(node.tokens[:1])


@pytest.mark.slow
def test_many_callers_get_what_each_would_get_alone(config: Config) -> None:
    """Calls from many threads, both cascades at once, equal the same calls one after the other."""
    requests = [(name, *_request(name, seed, 9)) for seed in range(4) for name in ("precision", "scope")]
    with Engine.open(config) as engine:
        alone = [engine.classify(task, items, name) for name, task, items in requests]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda request: engine.classify(request[1], request[2], request[0]), requests))
    for one, many in zip(alone, together, strict=True):
        for a, b in zip(one.decisions, many.decisions, strict=True):
            assert [step.p_yes for step in a.steps] == pytest.approx([step.p_yes for step in b.steps], abs=TOLERANCE)


def _mixed(config: Config) -> Config:
    """The shipped cascades, and one whose stages are answered by activated LoRA, plain LoRA and the base model."""
    first = config.cascade["precision"].stages[0]
    assert isinstance(first, StageConfig)
    target = first.no
    stages = []
    for name, adapter, following in (("a", "relevant", "b"), ("b", "co_change", "c"), ("c", "metadata", "d")):
        yes = target.model_copy(update={"stage": following, "label": None})
        stages.append(
            config.cascade["precision"]
            .stages[0]
            .model_copy(update={"name": name, "adapter": adapter, "threshold": 0.02, "yes": yes})
        )
    kept = target.model_copy(update={"label": "kept"})
    stages.append(stages[0].model_copy(update={"name": "d", "adapter": BASE, "yes": kept}))
    cascade = config.cascade["precision"].model_copy(
        update={"stages": tuple(stages), "labels": ("excluded", "kept"), "dropped": "excluded", "profile": None}
    )
    return config.model_copy(update={"cascade": config.cascade | {"mixed": cascade}})


@pytest.mark.slow
def test_every_mode_at_once_in_a_small_context_equals_cold_runs(config: Config, large: Rig) -> None:
    """Activated, plain and mixed cascades, many requests together, chunked: every step scores as if alone."""
    config = _mixed(config)
    cascades = config.cascades()
    small = config.model.model_copy(update={"n_ctx": 768, "n_seq_max": 10, "n_batch": 96, "n_threads": 1})
    requests = [
        (name, *_request("scope" if name == "scope" else "precision", seed, 7)) for seed in (3, 4) for name in cascades
    ]
    with Engine.open(config.model_copy(update={"model": small})) as engine, ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda request: engine.classify(request[1], request[2], request[0]), requests))
        assert engine.n_cached == 0
    n_deep = 0
    for (name, task, items), report in zip(requests, reports, strict=True):
        queries = queries_of(large, cascades[name], task, items)
        markers = {question.marker: question for question in cascades[name].questions()}
        for at, decision in enumerate(report.decisions):
            step = decision.steps[-1]
            question = markers[step.tier or step.stage]
            tokens = large.builder.marker_tokens(question.marker)
            of_question = [query for query in queries[question.adapter] if query.node.tokens == tokens]
            assert step.p_yes == pytest.approx(large.cold(of_question[at]), abs=TOLERANCE), (name, step)
            n_deep += len(decision.steps) > 1
    assert n_deep > len(requests)


@pytest.mark.slow
def test_more_items_than_sequences_and_cells_are_chunked(config: Config) -> None:
    """A request far larger than the context is answered whole, in order."""
    tiny = config.model_copy(update={"model": config.model.model_copy(update={"n_ctx": 512, "n_seq_max": 8})})
    task, items = symbols(2, 150)
    with Engine.open(tiny) as engine, Engine.open(config) as roomy:
        report, expected = engine.classify(task, items), roomy.classify(task, items)
    assert [decision.id for decision in report.decisions] == [item.id for item in items]
    first = [decision.steps[0].p_yes for decision in report.decisions]
    assert first == pytest.approx([decision.steps[0].p_yes for decision in expected.decisions], abs=TOLERANCE)


def test_another_model_needs_only_its_config_lines(tmp_path: Path) -> None:
    """A model from a path, a chat format and the base as adapter: the same engine, no other change."""
    task, items = symbols(4, 6)
    with Engine.open(_base_alone(tmp_path)) as engine:
        report = engine.classify(task, items, "c")
    assert len(report.decisions) == 6
    assert (report.provenance.prompt_format, report.provenance.adapters) == ("qwen3", {})


def _base_alone(folder: Path) -> Path:
    """A config of one question to a tiny model beside it."""
    write_model(folder / "tiny.gguf")
    path = folder / "tiny.toml"
    path.write_text(
        '[model]\npath = "tiny.gguf"\nformat = "qwen3"\n[cascade.c]\nlabels = ["drop", "keep"]\n'
        '[[cascade.c.stages]]\nname = "s"\nquestion = "does it matter?"\nadapter = "base"\n'
        'yes = { label = "keep" }\nno = { label = "drop" }\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("change", ["overwritten", "cut short", "replaced", "deleted"])
def test_a_model_file_that_changes_while_it_answers_changes_nothing(tmp_path: Path, change: str) -> None:
    """Whatever becomes of a file, an engine goes on with what it loaded, which its report names."""
    task, items = symbols(4, 6)
    config, file = _base_alone(tmp_path), tmp_path / "tiny.gguf"
    with Engine.open(config) as engine:
        before = engine.classify(task, items, "c")
        if change == "overwritten":
            with file.open("r+b") as handle:
                handle.write(bytes(file.stat().st_size))
        elif change == "cut short":
            os.truncate(file, 100)
        elif change == "replaced":
            write_model(tmp_path / "new.gguf", tokens=("new", *TOKENS)).replace(file)
        else:
            file.unlink()
        after = engine.classify(task, items, "c")
    assert after.decisions == before.decisions
    assert after.provenance == before.provenance


def test_a_file_that_changes_between_its_check_and_its_load_is_refused(tmp_path: Path) -> None:
    """What was hashed and what was loaded must be the same, or reports would name another model."""
    config = read_config(_base_alone(tmp_path))
    models = load_model_set(config)
    write_model(tmp_path / "tiny.gguf", tokens=("new", *TOKENS))
    with pytest.raises(ModelFileError, match=r"tiny.gguf: changed while it was opened. Replace files by renaming"):
        open_backend(config, config.cascades(), None, models)


@pytest.mark.slow
def test_an_engine_runs_other_cascades_than_the_config_has(config: Config) -> None:
    """Those that are given take the place of the config's own; they may ask its adapters, and no others."""
    keep, drop = Target("keep", is_label=True), Target("drop", is_label=True)
    stage = replace(config.cascades()["precision"].stage("relevant"), yes=keep, no=drop)
    alone = Cascade(name="alone", instructions="i", labels=("drop", "keep"), stages=(stage,))
    task, items = symbols(4, 6)
    with Engine.open(config, cascades={"alone": alone}) as engine:
        report = engine.classify(task, items, "alone")
        with pytest.raises(InputError, match="Unknown cascade 'precision'"):
            engine.classify(task, items, "precision")
    assert report.stats.calls == 6
    assert report.labels().keys() <= {"drop", "keep"}
    strange = replace(stage, questions={"": replace(stage.question(""), adapter="nobody")})
    with pytest.raises(ConfigError, match="asks adapter 'nobody', which the backend does not have"):
        Engine.open(config, cascades={"alone": replace(alone, stages=(strange,))})


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, config: Config) -> None:
    """An adapter trained for one base model never answers on another, however alike they look."""
    write_model(tmp_path / "other.gguf")
    changed = config.model_copy(update={"model": config.model.model_copy(update={"path": tmp_path / "other.gguf"})})
    with pytest.raises(ModelFileError, match="relevant"):
        Engine.open(changed)


def test_an_activated_adapter_acts_from_its_invocation_on(tmp_path: Path) -> None:
    """Where the invocation stands inside a question, and differently in each, the base computes what is before."""
    write_model(tmp_path / "other.gguf")
    with_tokens = NativeModel(tmp_path / "other.gguf", replace(LARGE, n_ctx=2048, n_seq_max=4))
    invocation = with_tokens.tokenizer.encode("<|im_end|>", special=True)
    write_adapter(tmp_path / "lora.gguf", Lora(invocation=tuple(invocation)))
    stage = (
        '[[cascade.c.stages]]\nname = "{0}"\nquestion = "does it matter?"\nadapter = "lora"\n'
        'yes = {{ label = "keep" }}\nno = {{ {1} }}\n'
    )
    (tmp_path / "mine.toml").write_text(
        '[model]\npath = "other.gguf"\nformat = "qwen3"\n[adapters]\nlora = "lora.gguf"\n'
        '[cascade.c]\nlabels = ["drop", "keep"]\n'
        + stage.format("s", 'stage = "long"')
        + stage.format("long", 'label = "drop"'),
        encoding="utf-8",
    )
    config = read_config(tmp_path / "mine.toml")
    models, cascade = load_model_set(config), config.cascades()["c"]
    with_tokens.load_adapter("lora", tmp_path / "lora.gguf", 1.0)
    form = prompt_format("qwen3")
    builder = PromptBuilder(form, with_tokens.tokenizer)
    labels = builder.label_tokens()
    runner = LlamaRunner(with_tokens, {"lora": models.adapters["lora"].info}, labels)
    task, items = symbols(4, 1)
    item = builder.item(builder.task(cascade.instructions, cascade.questions(), task), items[0])
    for marker in ("s", "long"):
        question = builder.question(item, marker)
        (found,) = runner.score(Batch((Query(question, "lora"),))).logits
        runner.release([item.path[0]])
        start = item.end + (models.adapters["lora"].info.activation_start(question.tokens) or 0)
        assert start > item.end
        right, wrong = (_by_hand(with_tokens, question, at, labels) for at in (start, item.end))
        assert abs(found - right) < 0.01 < abs(found - wrong)
    with_tokens.close()


def test_an_adapter_asked_under_another_marker_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the question, the adapter and its markers; none where they fit or the file names none."""
    write_model(tmp_path / "other.gguf")
    write_adapter(tmp_path / "told.gguf", Lora(markers=("one", "all")))
    write_adapter(tmp_path / "plain.gguf")
    stage = (
        '[[cascade.c.stages]]\nname = "{0}"\nquestion = "does it matter?"\nadapter = "{1}"\n'
        'yes = {{ label = "keep" }}\nno = {{ {2} }}\n'
    )
    (tmp_path / "mine.toml").write_text(
        '[model]\npath = "other.gguf"\nformat = "qwen3"\nn_ctx = 2048\nn_seq_max = 4\n'
        '[adapters]\ntold = "told.gguf"\nplain = "plain.gguf"\n[cascade.c]\nlabels = ["drop", "keep"]\n'
        + stage.format("one", "told", 'stage = "two"')
        + stage.format("two", "told", 'stage = "far"')
        + stage.format("far", "plain", 'label = "drop"'),
        encoding="utf-8",
    )
    with caplog.at_level(logging.WARNING), Engine.open(read_config(tmp_path / "mine.toml")) as engine:
        report = engine.classify(Task(text="fix it"), [Item(id="a", kind="function", name="a")], "c")
    (record,) = (one for one in caplog.records if "marker" in one.getMessage())
    for part in ('"two"', '"told"', '["one", "all"]'):
        assert part in record.getMessage()
    assert report.labels()


def _by_hand(native: NativeModel, question: Node, start: int, labels: tuple[int, int]) -> float:
    """Log odds of a prompt whose tokens from ``start`` on run under the adapter, the others on the base."""
    native.activate("")
    native.decode(Rows.of([Run(question.prompt[:start], 0, (0,))]), labels)
    native.activate("lora")
    ((yes, no),) = native.decode(Rows.of([Run(question.prompt[start:], start, (0,), is_output=True)]), labels)
    native.clear()
    return float(yes) - float(no)


@pytest.mark.slow
@run
async def test_a_question_that_does_not_fit_the_model_is_refused_inside_an_event_loop(config: Config) -> None:
    """A marker of too many tokens is a ConfigError, wherever the engine is opened."""
    stage = config.cascade["precision"].stages[0].model_copy(update={"marker": "does this symbol really matter at all"})
    precision = config.cascade["precision"]
    changed = precision.model_copy(update={"stages": (stage, *precision.stages[1:])})
    with pytest.raises(ConfigError, match="marker 'does this symbol really matter at all' is"):
        Engine.open(config.model_copy(update={"cascade": {"precision": changed}}))
