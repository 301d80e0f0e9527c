"""Questions of a caller's own: what the model reads, how it is shared, and what is asked option by option."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from cascade import Engine, Item, ScriptedBackend, Task, shipped_config
from cascade.errors import InputError
from cascade.prompt import Limits, PromptBuilder, prompt_format
from cascade.service.app import make_app
from cascade.service.metrics import Metrics
from cascade.service.open_questions import OpenForms
from cascade.service.settings import ServiceSettings
from cascade.service.typed import Asked, Option
from cascade.stages import ANY_TIER, BASE, Kind, Question, Stage, Target
from cascade.tree import Cascade
from tests.helpers.asyncs import run
from tests.helpers.char_tokenizer import CharTokenizer
from tests.helpers.service import DEFAULT, PATIENCE_S, assert_fault
from tests.helpers.shipped import ADAPTERS, CASCADES

STATE = "a b <|item|> c\nd"
QUESTIONS: dict[str, dict[str, Any]] = {
    "zz": {"type": "noul", "instructions": "Is it red?", "criteria": {"true": "like fire", "false": {"as": "sky"}}},
    "q.2": {"type": "choice", "instructions": "Which?", "criteria": {"Billing": "money", "Other": None}},
    "🎯": {"type": "score", "instructions": "How much?", "criteria": ["none", {"label": "all"}]},
}


class Service:
    """A service on a scripted backend, which keeps the prompts that it is asked."""

    def __init__(self, settings: ServiceSettings = DEFAULT, **backend: Any) -> None:
        self.prompts: list[tuple[str, str]] = []
        self.backend = ScriptedBackend(self._p, ADAPTERS, **backend)
        self.engine = Engine(self.backend, CASCADES)
        transport = httpx.ASGITransport(make_app(self.engine, Metrics(), settings), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S)

    def _p(self, adapter: str, prompt: str) -> float | list[float]:
        self.prompts.append((adapter, prompt))
        if prompt.endswith("one label"):
            n = prompt.rpartition("?")[2].count("; ") + 1
            return [1 / n] * n
        return 0.75 if "7" in prompt.rpartition("Is the answer:")[2] else 0.25

    async def ask(self, questions: Mapping[str, Any], state: Any = STATE, model: str = BASE) -> httpx.Response:
        """Typed questions about a state."""
        return await self.client.post(
            "/v1/systemone", json={"state": state, "model": model, "questions": dict(questions)}
        )


@pytest.fixture(name="service")
def _service() -> Iterator[Service]:
    service = Service()
    with service.engine:
        yield service


def asked_of(service: Service, questions: Mapping[str, Any], model: str = BASE) -> list[str]:
    """The prompts that questions make."""
    service.prompts.clear()

    @run
    async def talk() -> None:
        answer = await service.ask(questions, model=model)
        assert answer.status_code == 200, answer.text
        assert list(answer.json()["answers"]) == list(questions)

    talk()
    return [prompt for _, prompt in service.prompts]


def test_a_question_stands_behind_the_state_and_reads_no_other(service: Service) -> None:
    """The state once, in front; a question's prompt is the same alone, in company, under any name, in any order."""
    together = asked_of(service, QUESTIONS)
    alone = [prompt for name, question in QUESTIONS.items() for prompt in asked_of(service, {name: question})]
    renamed = {str(at): question for at, question in enumerate(reversed(QUESTIONS.values()))}
    assert sorted(together) == sorted(alone) == sorted(asked_of(service, renamed))
    heads = {prompt.partition("<|item|>")[0] for prompt in together}
    assert len(heads) == 1
    noul, choice, score = (
        next(prompt for prompt in together if words in prompt) for words in ("red?", "Which?", "much?")
    )
    assert noul.endswith('<|item|>Is it red? Yes: like fire. No: {"as": "sky"}.<|ask|>yes or no')
    assert choice.endswith("Which? A: Billing, money; B: Other<|ask|>one label")
    assert score.endswith('How much? 0: none; 1: {"label": "all"}<|ask|>one label')
    assert not any(name in prompt for name in QUESTIONS for prompt in together)


def test_an_adapter_is_asked_under_its_marker(service: Service) -> None:
    """The words that it was trained to answer behind."""
    (prompt,) = asked_of(service, {"q": QUESTIONS["zz"]}, model="relevant")
    assert prompt.endswith("<|ask|>relevant")


def test_all_questions_of_a_request_go_in_one_wave(service: Service) -> None:
    """They hang below one node, that of the state, so that its tokens are computed once."""

    @run
    async def talk() -> None:
        many = {f"q{at}": {"type": "noul", "instructions": f"Is it {at}?"} for at in range(40)}
        assert (await service.ask(many)).json()["x_calls"] == 40

    talk()
    (batch,) = service.backend.batches
    assert len({query.node.path[0] for query in batch.queries}) == 1


@run
async def test_four_hundred_questions_are_answered_and_no_more() -> None:
    """As many as the format has; a further one is refused."""
    service = Service()
    with service.engine:
        many = {f"q{at}": {"type": "noul", "instructions": f"Is it {at}?"} for at in range(401)}
        assert_fault(await service.ask(many), ["questions"], "400")
        del many["q0"]
        answer = await service.ask(many)
        assert len(answer.json()["answers"]) == 400


@run
async def test_a_choice_that_does_not_fit_is_asked_option_by_option() -> None:
    """255 options have no place in a small context: each is asked yes or no, and the odds are weighed."""
    service = Service(max_prompt=400)
    options = {f"Queue {at:03d}": "tickets" for at in range(255)}
    with service.engine:
        answer = await service.ask({"q": {"type": "choice", "instructions": "Which?", "criteria": options}})
    told = answer.json()
    found = told["answers"]["q"]
    assert told["x_calls"] == 255
    assert found["x_asked"] == "option by option"
    n_likely = sum("7" in option for option in options)
    each = 3 / (3 * n_likely + (255 - n_likely) / 3)
    assert found["probabilities"]["Queue 007"] == pytest.approx(each)
    assert found["choice"] == "Queue 007"
    assert sum(found["probabilities"].values()) == pytest.approx(1)


@run
async def test_what_is_too_long_is_refused_by_its_place() -> None:
    """A state, or a question, for which the model's context has no room; and too many calls at once."""
    service = Service(ServiceSettings(max_items=10), max_prompt=400)
    long = {"type": "noul", "instructions": "x" * 500}
    with service.engine:
        answer = await service.ask({"q": QUESTIONS["zz"]}, state="word " * 200)
        assert_fault(answer, ["state"], "the model reads 400")
        assert answer.json()["detail"][0]["type"] == "context_length_exceeded"
        assert_fault(await service.ask({"a": QUESTIONS["zz"], "q.2": long}), ["questions", "q.2"], "does not fit")
        options = {f"Queue {at:03d}": "tickets" for at in range(20)}
        answer = await service.ask({"q": {"type": "choice", "instructions": "Which?", "criteria": options}})
        assert_fault(answer, ["questions"], "20 calls", "10")


@pytest.mark.parametrize(
    "options",
    [
        {"": None, " ": None, "\x00": None, "(empty)": None},
        {"a b": None, "a  b": None, "a\nb": "x\ny", "a b (2)": None},
        {"yes": None, "no": None},
        {"no": None, "yes": "it is"},
        {"\u202ertl": None, "👩\u200d👩\u200d👧": None, "<|item|>": None, "A": None},
    ],
)
def test_options_of_any_letters_come_back_as_they_were(service: Service, options: dict[str, str | None]) -> None:
    """Blank, alike but for white space, unprintable, labels of other options: each keeps its name and its place."""

    @run
    async def talk() -> None:
        answer = await service.ask({"q": {"type": "choice", "instructions": "Which?", "criteria": options}})
        assert answer.status_code == 200, answer.text
        assert list(answer.json()["answers"]["q"]["probabilities"]) == list(options)

    talk()


@pytest.mark.parametrize("name", ["embedded", "chatml", "qwen3", "qwen3-reranker"])
def test_every_decoder_format_has_prompts_for_them(name: str) -> None:
    """State, question and marker stand in this order, in full, and text from outside makes no special token."""
    tokenizer = CharTokenizer()
    builder = PromptBuilder(prompt_format(name), tokenizer, Limits(task=1, item=1))
    work = OpenForms("base", None, builder, 10_000).work(
        STATE, {0: Asked(place=("q",), kind=Kind.CHOICE, wording="Which?", options=(Option("a", "x"), Option("b")))}
    )
    ((branch,),) = work.branches.values()
    root = builder.task("i", [branch.form], work.task)
    node = builder.open_item(root, Item(id="1", kind="", name=branch.asked))
    prompt = tokenizer.decode(builder.question(node, branch.form.marker).prompt)
    places = [prompt.index(words) for words in ("a b", "c d", "Which? a: x; b", "one label")]
    assert places == sorted(places)


def open_cascade() -> Cascade:
    """One form of an answer."""
    form = Question(marker="yes or no", wording="w", adapter=BASE, threshold=0.5, is_open=True)
    yes, no = Target("yes", is_label=True), Target("no", is_label=True)
    stage = Stage(name="only", questions={ANY_TIER: form}, yes=yes, no=no)
    return Cascade(name="open", instructions="i", labels=("no", "yes"), stages=(stage,))


@run
async def test_every_item_has_a_stage_of_its_own() -> None:
    """``aask`` puts one stage to each item, and refuses an item without one, or an unknown stage."""
    service = Service()
    items = [Item(id="1", name="first?"), Item(id="2", name="second?")]
    with service.engine:
        report = await service.engine.aask(Task(text="t"), items, open_cascade(), {"1": "only", "2": "only"})
        assert [len(decision.steps) for decision in report.decisions] == [1, 1]
        assert report.stats.calls == 2
        with pytest.raises(InputError, match="Item '2' has no stage"):
            await service.engine.aask("t", items, open_cascade(), {"1": "only"})
        with pytest.raises(InputError, match="no stage 'other'"):
            await service.engine.aask("t", items[:1], open_cascade(), {"1": "other"})
        report = await asyncio.wait_for(service.engine.ascore("t", items, "precision", "relevant"), PATIENCE_S)
        assert report.stats.calls == 2


TWO = """
[models.small]
path = "PATH"
n_threads = 1
[models.large]
path = "PATH"
n_threads = 1
[cascade.own]
labels = ["no", "yes"]
[[cascade.own.stages]]
name = "only"
question = "does it matter?"
adapter = "large/base"
yes = { label = "yes" }
no = { label = "no" }
"""


@pytest.mark.slow
def test_each_of_several_models_is_asked_by_its_name(tmp_path: Path) -> None:
    """NAME/base is a model alone, here twice the same one; the alias means one of them where none is called base."""
    path = tmp_path / "two.toml"
    path.write_text(TWO.replace("PATH", str(shipped_config().parent / "embedded.gguf")), encoding="utf-8")

    @run
    async def talk() -> None:
        app = make_app(engine, Metrics(), DEFAULT)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S) as client:
            names = [card["name"] for card in (await client.get("/v1/models")).json()["models"]]
            assert names == ["own", "large/base", "small/base", "own/only", "jev-latest"]
            found = []
            for model in ("small/base", "large/base", "jev-latest"):
                call = {"state": STATE, "model": model, "questions": QUESTIONS}
                told = (await client.post("/v1/systemone", json=call)).json()
                assert told["model"] in {"large/base", "small/base"}
                found.append(told["answers"]["zz"]["noul"])
            assert found == pytest.approx([found[0]] * 3, abs=1e-6)

    with Engine.open(path) as engine:
        talk()
