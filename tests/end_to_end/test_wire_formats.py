"""Programs that nobody here wrote ask a service with the shipped model in both wire formats, as they are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_openai.decisions import Choice as ChoiceOfChain
from langchain_openai.decisions import OpenAIDecisions, Predicate
from langchain_openai.decisions import Score as ScoreOfChain
from openai import BadRequestError, NotFoundError, OpenAI
from typesafe_sdk import (
    Choice,
    Noul,
    Score,
    TypeSafeAuthenticationError,
    TypeSafeClient,
    TypeSafeNotFoundError,
    TypeSafeUnprocessableEntityError,
)

from cascade import Engine
from cascade.service.metrics import Metrics
from cascade.service.settings import ServiceSettings
from tests.helpers.service import serving

pytestmark = pytest.mark.slow

TOKEN = "open-sesame"  # noqa: S105 - the tests' own
PATIENCE_S = 300
TICKET = "I was charged twice for March and the refund has not arrived. Fix this today or I dispute the charge."
LONG = {"ticket": TICKET, "history": [f"On day {day} the customer asked again." for day in range(60)]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The shipped model."""
    with Engine.open() as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    """A service that lets everybody in."""
    settings = ServiceSettings(aliases={"gpt-6-luna": "base"})
    with serving(engine, Metrics(), settings) as url:
        yield url


@pytest.fixture(scope="module")
def closed(engine: Engine) -> Iterator[str]:
    """A service that wants a token."""
    with serving(engine, Metrics(), ServiceSettings(token=TOKEN)) as url:
        yield url


def program(module: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A foreign command line program, run to its end in a folder."""
    command = [str(Path(sys.executable).with_name(module)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, timeout=PATIENCE_S)


@pytest.mark.parametrize("model", [(), ("--model", "relevant")])
def test_jevcompat_finds_every_must_and_should(url: str, tmp_path: Path, model: Sequence[str]) -> None:
    """By the default name and as an adapter: 32 MUST of 32, every SHOULD that applies, and exit code 0."""
    done = program("jevcompat", "test", url, *model, "--json", tmp_path / "report.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "MUST 32/32, SHOULD 13/13" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())


@pytest.mark.parametrize("model", [(), ("--model", "base")])
def test_jevcompat_finds_the_same_behind_a_token(closed: str, tmp_path: Path, model: Sequence[str]) -> None:
    """With a key, the requirements of authentication apply as well: all 15 SHOULD."""
    done = program("jevcompat", "test", closed, "--key", TOKEN, *model, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "MUST 32/32, SHOULD 15/15" in done.stdout


def test_the_official_client_asks_as_it_is(url: str) -> None:
    """typesafe-sdk with its default model; the body is longer than 1,024 bytes, so it comes as zstd."""
    questions: Any = {
        "refund": Noul(instructions="Is the customer asking for money back?"),
        "team": Choice(criteria={"billing": "Payments", "technical": None}, instructions={"do": "route it"}),
        "anger": Score(criteria=["calm", {"label": "angry"}], instructions=["How angry?"]),
    }
    with TypeSafeClient(api_key="local", base_url=url, compression="zstd") as client:
        packed = client.system_one(state=LONG, questions=questions)
        listed = {card.name: card for card in client.models.list().models}
    with TypeSafeClient(api_key="local", base_url=url, compression=False) as client:
        plain = client.system_one(state=LONG, questions=questions, model="base")
    assert packed.model == plain.model == "base"
    assert packed.nouls["refund"].noul == pytest.approx(plain.nouls["refund"].noul, abs=1e-3)
    assert packed.choices["team"].probabilities == pytest.approx(plain.choices["team"].probabilities, abs=1e-3)
    assert packed.scores["anger"].legend == {0: "calm", 1: {"label": "angry"}}
    assert (packed.usage.input_tokens or 0) > 500
    assert {"jev-latest", "base", "precision", "precision/relevant"} <= set(listed)


def test_the_official_client_hears_what_is_wrong(url: str, closed: str) -> None:
    """Its own errors, by status, each with our sentence."""
    asked: Any = {"a": {"type": "noul", "instructions": " "}, "b": {"type": "choice", "criteria": {"one": None}}}
    with TypeSafeClient(api_key="wrong", base_url=closed) as client, pytest.raises(TypeSafeAuthenticationError):
        client.system_one(state="s", questions={"q": Noul(instructions="?")})
    with TypeSafeClient(api_key="local", base_url=url) as client:
        with pytest.raises(TypeSafeNotFoundError, match=r"there is no 'gpt-2'; there are precision"):
            client.system_one(state="s", questions={"q": Noul(instructions="?")}, model="gpt-2")
        with pytest.raises(TypeSafeUnprocessableEntityError, match=r"questions\.b\.criteria: .*at least 2"):
            client.system_one(state="s", questions=asked)
        two: Any = {"a": {"type": "noul", "instructions": " "}, "q.2": {"type": "noul", "instructions": ""}}
        with pytest.raises(TypeSafeUnprocessableEntityError) as caught:
            client.system_one(state="s", questions=two)
    assert [fault["loc"][2] for fault in caught.value.body["detail"]] == ["a", "q.2"]


def test_openais_client_asks_for_decisions(url: str) -> None:
    """A text and a conversation; every kind of question; answers in order, with the names that there are."""
    questions: Any = [
        {"type": "predicate", "instructions": "The customer wants money back.", "name": "refund"},
        {
            "type": "choice",
            "instructions": [{"type": "input_text", "text": "Is it true?"}],
            "choices": [{"value": True}, {"value": "true", "description": "the word"}, {"value": "no"}],
        },
        {"type": "score", "instructions": "How angry?", "levels": [{"label": "calm"}, {"label": "angry"}], "name": "a"},
    ]
    conversation: Any = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": TICKET}]},
        {"type": "function_call", "call_id": "1", "name": "orders", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "two charges"},
    ]
    with OpenAI(api_key="local", base_url=f"{url}/v1") as client:
        for given in (TICKET, conversation):
            found = client.decisions.create(model="gpt-6-luna", input=given, questions=questions)
            predicate, choice, score = (answer.model_dump() for answer in found.answers)
            assert (predicate["type"], predicate["name"]) == ("predicate", "refund")
            assert 0 < predicate["probability"] < 1
            assert [each["value"] for each in choice["probabilities"]] == [True, "true", "no"]
            assert choice["choice"] in (True, "true", "no")
            assert choice["name"] is None
            assert [each["label"] for each in score["probabilities"]] == ["calm", "angry"]
            assert score["score"] == pytest.approx(score["probabilities"][1]["probability"])
            usage = found.usage
            assert usage.total_tokens == usage.input_tokens > 0
            details = usage.input_tokens_details
            assert details.cached_tokens + details.cache_write_tokens == usage.input_tokens
        assert "base" in {model.id for model in client.models.list()}


def test_openais_client_hears_what_is_wrong(url: str) -> None:
    """One question that cannot be answered is a refusal beside the others; a request of these alone is an error."""
    strange: Any = {"type": "predicate", "instructions": "Is it red?", "name": "red"}
    own: Any = {"type": "predicate", "instructions": "must it be changed?"}
    with OpenAI(api_key="local", base_url=f"{url}/v1") as client:
        found = client.decisions.create(model="precision", input="def f(): ...", questions=[strange, own])
        assert [answer.type for answer in found.answers] == ["refusal", "predicate"]
        assert found.answers[0].name == "red"
        with pytest.raises(BadRequestError, match="asks 'does this symbol matter at all"):
            client.decisions.create(model="precision", input="def f(): ...", questions=[strange])
        with pytest.raises(NotFoundError) as missing:
            client.decisions.create(model="gpt-2", input="x", questions=[own])
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
        image: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA=="}]}]
        with pytest.raises(BadRequestError, match="images are not read") as caught:
            client.decisions.create(model="base", input=image, questions=[own])
        assert caught.value.param == "input.0.content.0"
        orphan: Any = [{"type": "function_call_output", "call_id": "9", "output": "x"}]
        with pytest.raises(BadRequestError, match="no call before it has the id '9'"):
            client.decisions.create(model="base", input=orphan, questions=[own])


@pytest.mark.filterwarnings("ignore:The class `OpenAIDecisions` is in beta")
def test_langchain_asks_for_decisions(url: str) -> None:
    """Its client of the decisions interface, with structured state."""
    decisions = OpenAIDecisions(model="gpt-6-luna", api_key="local", base_url=f"{url}/v1")
    found = decisions.invoke(
        {
            "input": {"ticket": TICKET, "plan": "pro"},
            "questions": {
                "refund": Predicate(instructions="The customer wants money back."),
                "team": ChoiceOfChain(
                    instructions="Which team?", choices={"billing": "Payments.", "technical": "Bugs."}
                ),
                "anger": ScoreOfChain(instructions="How angry?", levels=["calm", "angry"]),
            },
        }
    )
    assert 0 < found.predicates["refund"].probability < 1
    assert set(found.choices["team"].probabilities) == {"billing", "technical"}
    assert found.scores["anger"].legend == {0: "calm", 1: "angry"}


def test_jevbench_finds_the_format(url: str, tmp_path: Path) -> None:
    """Its check sends questions of every kind in one request, and finds all of them answered."""
    done = program("jevbench", "check", "--url", f"{url}/v1/systemone", "--model", "base", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answered one request (4 noul, 2 choice, 1 score)" in done.stdout


def test_sys1bench_gets_an_answer_to_everything(url: str, tmp_path: Path) -> None:
    """Suite A with few items, all of its arms, and the canary: no row is without probabilities."""
    keys = {
        "adapter": "jev_typesafe",
        "model_id": "base",
        "url": f"{url}/v1/systemone",
        "api_key": "local",
        "allow_alias": True,
        "deployment": "local",
    }
    config = tmp_path / "ours.yaml"
    config.write_text(json.dumps(keys), encoding="utf-8")
    given = tmp_path / "given"
    given.mkdir()
    for name, generator in (
        ("tickets", "support_tickets"),
        ("phish", "phishing_email"),
        ("tickets_unknowable", "support_tickets"),
        ("tickets_noisy", "support_tickets"),
    ):
        made = program("sys1bench", "generate", generator, given / f"{name}.jsonl", "--n", "2", folder=tmp_path)
        assert made.returncode == 0, made.stderr
    arguments = ("--perms", "1", "--manifests-from", given)
    done = program("sys1bench", "suite", "A", tmp_path / "out", "--config", config, *arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [
        json.loads(line)
        for name in ("tickets", "phish", "unknowable", "noisy")
        for line in (tmp_path / "out" / f"preds_{name}.jsonl").read_text().splitlines()
    ]
    assert len(rows) > 100
    assert not [row for row in rows if row["error"] or sum(row["probs"]) != pytest.approx(1)]
    done = program("sys1bench", "canary", "jev_typesafe", "--config", config, "--store", tmp_path, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (stored,) = tmp_path.glob("jev_typesafe__*.json")
    answers = json.loads(stored.read_text())["answers"].values()
    assert len(answers) == 1_100
    assert all(sum(answer["probs"]) == pytest.approx(1) and answer["argmax"] for answer in answers)
