"""Answers that are no numbers: the request ends with an error that says what to do, and nobody else is touched."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import Engine, Profile, ScriptedBackend, read_config, shipped_config
from cascade.backends.base import Batch, Query, Scores, Stop
from cascade.backends.llama.native import ContextSize
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import BackendError, ModelFileError
from cascade.models.model_set import ModelSet, load_model_set
from cascade.probability import p_yes
from cascade.report import Report
from cascade.stages import BASE
from tests.helpers.asyncs import run
from tests.helpers.gguf_files import write_filled
from tests.helpers.requests import files, plain_items, symbols
from tests.helpers.rig import AfterCalls, Rig, queries_of
from tests.helpers.service import Service, body_of
from tests.helpers.shipped import ADAPTERS, CASCADES, questions_alone

TOLERANCE = 1e-3
HUGE = 3e4  # finite in F16; what it is multiplied with overflows
KINDS = {"activated": "relevant", "plain": "co_change"}
SIZE = ContextSize(n_ctx=2048, n_seq_max=64, n_batch=96, n_threads=1)
MESSAGE = r"Adapter 'diverged' gives no number for stage 'first' of cascade 'bad'.*check the file of adapters.diverged"

_CONFIG = """
[model]
path = "{shipped}/embedded.gguf"
n_ctx = 2048
[adapters]
diverged = "diverged.gguf"
relevant = "{shipped}/relevant.gguf"
co_change = "{shipped}/co_change.gguf"
"""
_CASCADE = """
[cascade.{name}]
labels = ["no", "yes"]
[[cascade.{name}.stages]]
name = "first"
question = "does it matter?"
adapter = "{first}"
marker = "relevant"
yes = {{ stage = "second" }}
no = {{ stage = "second" }}
[[cascade.{name}.stages]]
name = "second"
question = "was it changed along?"
adapter = "co_change"
yes = {{ label = "yes" }}
no = {{ label = "no" }}
"""


@pytest.fixture(scope="module", params=KINDS)
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config with an adapter that overflows, which the cascade `bad` asks, and `good` does not."""
    folder, shipped = tmp_path_factory.mktemp("diverged"), shipped_config().parent
    write_filled(shipped / f"{KINDS[request.param]}.gguf", folder / "diverged.gguf", HUGE)
    text = _CONFIG.format(shipped=shipped)
    for name, first in (("bad", "diverged"), ("good", "relevant")):
        text += _CASCADE.format(name=name, first=first)
    (folder / "map.toml").write_text(text, encoding="utf-8")
    return folder / "map.toml"


@pytest.fixture(scope="module")
def engine(config: Path) -> Iterator[Engine]:
    """An engine that all tests share: one test's NaN must not be another's."""
    with Engine.open(config) as engine:
        yield engine


@pytest.fixture(scope="module")
def expected(config: Path) -> list[float]:
    """What an engine answers that has never met the adapter."""
    with Engine.open(config) as engine:
        return _answers(engine.classify(*symbols(3, 14), "good"))


def _answers(report: Report) -> list[float]:
    return [step.p_yes for decision in report.decisions for step in decision.steps]


async def _streamed(engine: Engine) -> None:
    async for _ in engine.stream(*symbols(1, 9), "bad"):
        pass


ASKED: dict[str, Callable[[Engine], object]] = {
    "classify": lambda engine: engine.classify(*symbols(1, 9), "bad"),
    "budget": lambda engine: engine.classify(*symbols(1, 9), "bad", budget=5_000),
    "stream": lambda engine: asyncio.run(_streamed(engine)),
    "score": lambda engine: engine.score(*symbols(1, 9), "bad"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ASKED)
def test_an_adapter_that_overflows_is_an_error(how: str, engine: Engine, expected: list[float]) -> None:
    """However it is asked; nothing of it is kept, and other adapters answer as in an engine that never met it."""
    with pytest.raises(BackendError, match=MESSAGE):
        ASKED[how](engine)
    assert _answers(engine.classify(*symbols(3, 14), "good")) == pytest.approx(expected, abs=TOLERANCE)
    assert engine.n_cached == 0


@pytest.mark.slow
def test_requests_beside_it_are_answered(engine: Engine, expected: list[float]) -> None:
    """Of many requests at once those fail that ask the adapter, and no other."""

    def ask(name: str) -> list[float] | BackendError:
        try:
            return _answers(engine.classify(*symbols(3, 14), name))
        except BackendError as error:
            return error

    names = ["good", "bad", "good", "good", "bad", "good"]
    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(ask, names))
    for name, answers in zip(names, found, strict=True):
        if name == "bad":
            assert isinstance(answers, BackendError)
        else:
            assert answers == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["classify", "classify --budget 500", "evaluate", "tune --no-guarantee --target macro_f1", "doctor"]
)
def test_commands_fail_with_its_name(
    command: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and one line that names the adapter; of the doctor a finding."""
    name, *options = command.split()
    item = {"id": "a", "kind": "function", "name": "read_config"}
    rows = [{"id": str(at), "task": f"task {at}", "items": [item | {"label": "no"}]} for at in range(6)]
    (tmp_path / "items.jsonl").write_text(json.dumps(item), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    if name == "classify":
        options += ["--task", "t", "--items", str(tmp_path / "items.jsonl"), "--cascade", "bad"]
    elif name != "doctor":
        options += ["--data", str(tmp_path / "rows.jsonl"), "--cascade", "bad"]
    assert main([name, "--config", str(config), *options]) == ExitCode.FAILURE
    found = capsys.readouterr()
    assert "Adapter 'diverged' gives no number" in found.err + found.out


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelSet:
    """The shipped files, and copies of two adapters that overflow."""
    models, folder = load_model_set(questions_alone()), tmp_path_factory.mktemp("filled")
    adapters = dict(models.adapters)
    for kind, name in KINDS.items():
        path = write_filled(adapters[name].path, folder / f"{kind}.gguf", HUGE)
        adapters[kind] = replace(adapters[name], name=kind, path=path)
    return replace(models, adapters=adapters)


@pytest.fixture(scope="module")
def rigs(models: ModelSet) -> Iterator[tuple[Rig, Rig]]:
    """A context for all, and one for sound adapters alone."""
    pair = Rig(models, SIZE), Rig(models, SIZE)
    yield pair
    for rig in pair:
        rig.native.close()


@pytest.mark.slow
@pytest.mark.parametrize("n_calls", [0, 1, 2, 3, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_in_the_cache_spoils_no_other_adapter(kind: str, n_calls: int, rigs: tuple[Rig, Rig]) -> None:
    """Wherever the batch was stopped that computed it: free cells are masked, and a NaN in them would still spoil."""
    rig, cold = rigs
    rig.empty()
    queries = queries_of(rig, CASCADES["precision"], *symbols(7, 14)) | queries_of(
        rig, CASCADES["scope"], *files(7, 14)
    )
    rig.score(queries["metadata"][:4])
    batch = Batch(tuple(Query(query.node, kind) for query in queries["relevant"]))
    scores = rig.runner.score(batch, AfterCalls(n_calls))
    assert all(map(math.isnan, scores.logits))
    assert len(scores.spoilt) == (len(batch.queries) if n_calls == 100 else 0)
    assert all(rig.runner.store.find(*key) is None for key in scores.lost)
    for adapter in ("relevant", "supporting", "co_change", "metadata"):
        assert rig.score(queries[adapter])[:3] == pytest.approx(
            [cold.cold(query) for query in queries[adapter][:3]], abs=TOLERANCE
        )
    rig.runner.release({query.node.path[0] for own in queries.values() for query in own})
    assert (len(rig.runner.store), rig.runner.usage().sequences) == (0, 0)


@pytest.mark.slow
def test_a_nan_of_before_is_not_laid_at_another_adapters_door(rigs: tuple[Rig, Rig]) -> None:
    """An adapter whose answers another one's cells have spoilt is asked again in an empty cache."""
    rig, cold = rigs
    rig.empty()
    queries = queries_of(rig, CASCADES["precision"], *symbols(8, 14))["relevant"]
    rig.runner.score(Batch(tuple(Query(query.node, "plain") for query in queries)), AfterCalls(1))
    assert rig.runner.store.find(queries[0].node.path[0], "plain")  # the task is computed, and no question
    scores = rig.runner.score(Batch(tuple(queries)))
    assert not scores.spoilt
    assert {prefix_adapter for _, prefix_adapter in scores.lost} == {"plain"}
    assert p_yes(scores.logits[:2]) == pytest.approx([cold.cold(query) for query in queries[:2]], abs=TOLERANCE)


class _Changed(ScriptedBackend):
    """A scripted backend whose answers are changed before the engine has them."""

    def __init__(self, change: Callable[[Scores, int], Scores]) -> None:
        super().__init__(dict.fromkeys(ADAPTERS, 0.99), ADAPTERS)
        self.change = change

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        number = self.n_batches
        return self.change(await super().score(batch, stop), number)


def _with(value: float) -> Callable[[Scores, int], Scores]:
    return lambda scores, _: replace(scores, logits=[value, *scores.logits[1:]])


FAULTS: dict[str, tuple[Callable[[Scores, int], Scores], str]] = {
    "nan": (_with(math.nan), r"'relevant' gives no number for stage 'relevant'.*item 'item-0': its log odds are nan"),
    "inf": (_with(math.inf), "its log odds are inf"),
    "-inf": (_with(-math.inf), "its log odds are -inf"),
    "too few": (lambda scores, _: replace(scores, logits=scores.logits[1:]), "gave 4 answers to 5 questions"),
    "too many": (lambda scores, _: replace(scores, logits=[*scores.logits, 1.0]), "gave 6 answers to 5 questions"),
    "owed": (
        lambda scores, _: replace(scores, logits=[math.nan] * 5, under_way={at: lambda: True for at in range(5)}),
        "its log odds are nan",
    ),
    "owed for ever": (
        lambda scores, _: replace(scores, logits=[math.nan] * 5, under_way={at: lambda: False for at in range(5)}),
        "its log odds are nan",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_backend_that_answers_no_number_is_an_error(fault: str) -> None:
    """Whatever it is in place of a number; it is not asked for ever, and the next request is answered."""
    change, message = FAULTS[fault]
    backend = _Changed(lambda scores, number: change(scores, number) if number < 2 else scores)
    with Engine(backend, CASCADES) as engine:
        with pytest.raises(BackendError, match=message):
            engine.classify("a task", plain_items(5))
        backend.n_batches = 2
        assert len(engine.classify("a task", plain_items(5)).decisions) == 5
        assert engine.n_cached == 0


def test_an_answer_that_comes_as_the_batch_ends_is_asked_for_again() -> None:
    """What a server owed when the batch ended may be there when the engine looks; that is no fault."""
    owed = _with(math.nan)
    backend = _Changed(lambda scores, n: scores if n else replace(owed(scores, n), under_way={0: lambda: False}))
    with Engine(backend, CASCADES) as engine:
        report = engine.classify("a task", plain_items(5))
    assert {decision.label for decision in report.decisions} == {"primary"}


@pytest.mark.parametrize("fault", ["nan", "inf", "-inf", "too few", "too many"])
def test_a_budget_does_not_hide_it(fault: str) -> None:
    """With all the time in the world and with little, it is an error and no label."""
    with Engine(_Changed(FAULTS[fault][0]), CASCADES) as engine:
        for budget in (10_000, 1_000):
            with pytest.raises(BackendError, match=FAULTS[fault][1]):
                engine.classify("a task", plain_items(5), budget=budget)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_script_may_be_sure(p: float) -> None:
    """A probability of 0 or 1 is an answer like any other."""
    with Engine(ScriptedBackend(dict.fromkeys(ADAPTERS, p), ADAPTERS), CASCADES) as engine:
        decisions = engine.classify("a task", plain_items(3)).decisions
    assert {step.p_yes for decision in decisions for step in decision.steps} == {p}


@pytest.mark.parametrize("p", [math.nan, 1.5, -0.5])
def test_a_script_that_gives_no_probability_is_an_error(p: float) -> None:
    """What is outside [0, 1] is no answer."""
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, p), ADAPTERS)
    with Engine(backend, CASCADES) as engine, pytest.raises(BackendError, match="gives no number"):
        engine.classify("a task", plain_items(3))


def test_only_requests_that_were_answered_so_fail() -> None:
    """In a batch that several requests share, the others go on."""

    def script(_adapter: str, prompt: str) -> float:
        return math.nan if "spoilt" in prompt else 0.99

    with Engine(ScriptedBackend(script, ADAPTERS), CASCADES) as engine, ThreadPoolExecutor(8) as pool:
        calls = {
            text: pool.submit(engine.classify, text, plain_items(6)) for text in ("a", "spoilt b", "c", "spoilt d")
        }
        for text, call in calls.items():
            if "spoilt" in text:
                assert isinstance(call.exception(timeout=30), BackendError)
            else:
                assert len(call.result(timeout=30).decisions) == 6


@pytest.mark.parametrize("relevant", [0.99, 0.01])
def test_a_question_asked_ahead_fails_only_who_needs_it(relevant: float) -> None:
    """Where the tree does not lead to it, its NaN is dropped with it."""
    stages = tuple(
        replace(stage, questions={"": replace(stage.question(""), adapter=BASE, marker=marker)})
        for stage, marker in zip(CASCADES["precision"].stages, "abc", strict=True)
    )
    cascade = replace(CASCADES["precision"], stages=stages, profile=Profile())
    backend = ScriptedBackend(lambda _, prompt: relevant if prompt.endswith("a") else math.nan, frozenset())
    with Engine(backend, {"precision": cascade}) as engine:
        if relevant < 0.5:
            report = engine.classify("a task", plain_items(1))
            assert (report.decisions[0].label, report.stats.calls_ahead) == ("excluded", 2)
        else:
            with pytest.raises(BackendError, match="The base model gives no number for stage 'primary'"):
                engine.classify("a task", plain_items(1))
    assert len(backend.batches[0].queries) == 3


@run
async def test_the_service_tells_of_it() -> None:
    """A problem with status 500, or in a stream a last line; requests that ask other adapters are answered."""
    task, items = symbols(1, 3)
    service = Service(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.99) | {"relevant": math.nan}, ADAPTERS))
    async with service.engine, service.client() as client:
        answer = await client.post("/v1/cascades/precision", json=body_of(task, items))
        assert answer.status_code == 500
        assert "Adapter 'relevant' gives no number for stage 'relevant'" in answer.json()["detail"]
        lines = await client.post(
            "/v1/cascades/precision", json=body_of(task, items), headers={"Accept": "application/x-ndjson"}
        )
        assert "gives no number" in lines.text
        task, items = files(1, 3)
        answer = await client.post("/v1/cascades/scope", json=body_of(task, items))
        assert answer.status_code == 200


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_adapter_that_holds_nan_is_refused_when_it_is_opened(value: float, config: Path, tmp_path: Path) -> None:
    """The error names the key, the file and the tensor; llama.cpp never sees it."""
    write_filled(config.parent / "diverged.gguf", tmp_path / "diverged.gguf", value)
    (tmp_path / "map.toml").write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"adapters.diverged: .*diverged.gguf: tensor 'blk.0.*NaN or infinity"):
        Engine.open(read_config(tmp_path / "map.toml"))
