"""Choices and scores on servers: what goes over the wire, what answers mean, and what a server cannot answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Config, Engine, Item, read_config, shipped_config
from cascade.errors import BackendError, ConfigError

GGUF = f'path = "{shipped_config().parent / "embedded.gguf"}"'
ITEMS = [Item(id="1", name="crash"), Item(id="2", name="typo")]
LETTERS = [37, 38, 39]
"""Tokens of A, B and C in the shipped vocabulary."""


def tickets(folder: Path, kind: str, url: str, model: str = GGUF, keys: str = "") -> Config:
    """A choice that leads on to a score, both asked of one server."""
    path = folder / "tickets.toml"
    path.write_text(
        f"""
[model]
format = "embedded"
{model}
[servers.far]
kind = "{kind}"
url = "{url}"
{keys}
[adapters]
one = {{ server = "far", name = "one" }}
[cascade.tickets]
instructions = "Sort tickets."
labels = ["none", "docs", "later", "now"]
[[cascade.tickets.stages]]
name = "kind"
question = "what is it?"
adapter = "one"
values = {{ bug = "it is broken", docs = "", none = "" }}
next = {{ bug = {{ stage = "urgency" }} }}
[[cascade.tickets.stages]]
name = "urgency"
question = "how urgent is it?"
adapter = "one"
levels = ["can wait", "today"]
cuts = [0.5]
next = [{{ label = "later" }}, {{ label = "now" }}]
""",
        encoding="utf-8",
    )
    return read_config(path)


def p(_: str, prompt: str) -> float:
    """The first value of what breaks, and of nothing else."""
    return 0.8 if "crash" in prompt else 0.2


def script(kind: str, **more: Any) -> Script:
    """A server of a kind."""
    return Script(p=p, adapters=("one",), owner="llamacpp" if kind == "llama-server" else "vllm", **more)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama-server", "completions", "systemone", "decisions"])
def test_a_server_answers_choices_and_scores(kind: str, tmp_path: Path) -> None:
    """Every value has the probability that the server gave it, and the item takes the likeliest value's way."""
    keys = "" if kind in {"systemone", "decisions"} else 'prompt = "text"'
    with ScriptedServer(script(kind)) as server, Engine.open(tickets(tmp_path, kind, server.url, keys=keys)) as engine:
        first, second = engine.classify("sort", ITEMS, "tickets").decisions
    assert first.steps[0].probabilities == pytest.approx({"bug": 0.8, "docs": 0.1, "none": 0.1})
    assert first.steps[1].probabilities == pytest.approx({"can wait": 0.8, "today": 0.2})
    assert first.label == "later"
    assert first.steps[1].score == pytest.approx(0.2)
    assert second.steps[0].probabilities == pytest.approx({"bug": 0.2, "docs": 0.4, "none": 0.4})
    assert second.label == "docs"


@pytest.mark.slow
def test_a_llama_server_and_vllm_are_asked_for_the_labels(tmp_path: Path) -> None:
    """Every label's token gets the bias, and as many likeliest tokens are wanted; vLLM gets the token ids."""
    for kind in ("llama-server", "completions"):
        with ScriptedServer(script(kind)) as server, Engine.open(tickets(tmp_path, kind, server.url)) as engine:
            engine.score("sort", ITEMS[:1], "tickets", "kind")
        body = server.script.seen[-1][2]
        if kind == "llama-server":
            assert [token for token, _ in body["logit_bias"]] == LETTERS
            assert (body["top_k"], body["n_probs"]) == (3, 3)
        else:
            assert body["logprob_token_ids"] == LETTERS


@pytest.mark.slow
def test_system_one_gets_its_own_kinds_of_questions(tmp_path: Path) -> None:
    """A choice with a table of its options, a score with a list of its levels; no model file is needed."""
    with ScriptedServer(script("systemone")) as server:
        config = tickets(tmp_path, "systemone", server.url, model="")
        with Engine.open(config) as engine:
            engine.score("sort", ITEMS[:1], "tickets")
    (kind,), (urgency,) = (body["questions"].values() for _, _, body in server.script.seen)
    options = {"bug": "it is broken", "docs": None, "none": None}
    assert kind == {"type": "choice", "instructions": "what is it?", "criteria": options}
    assert urgency == {"type": "score", "instructions": "how urgent is it?", "criteria": ["can wait", "today"]}


@pytest.mark.slow
def test_a_label_that_may_be_likely_and_is_missing_is_refused(tmp_path: Path) -> None:
    """A server that gives its likeliest tokens alone answers where the rest can have next to nothing."""
    keys = "top_logprobs = 5"
    for texts, is_known in ((("A", "B", "C"), True), (("A", "B"), False)):
        found = Script(p=lambda *_: 0.6, adapters=("one",), owner="me", texts=texts)
        found.tweak = _without_other if not is_known else found.tweak
        with (
            ScriptedServer(found) as server,
            Engine.open(tickets(tmp_path, "completions", server.url, keys=keys)) as engine,
        ):
            if is_known:
                ((step,),) = engine.score("sort", ITEMS[:1], "tickets", "kind")
                assert step.probabilities == pytest.approx({"bug": 0.6, "docs": 0.2, "none": 0.2})
            else:
                with pytest.raises(BackendError, match="how likely the labels 'A' and 'B' and 'C' are"):
                    engine.score("sort", ITEMS[:1], "tickets", "kind")


def _without_other(answer: Any) -> Any:
    if "choices" in answer:
        answer["choices"][0]["logprobs"]["top_logprobs"][0].pop("other")
    return answer


@pytest.mark.parametrize("kind", ["llama-server", "completions"])
def test_without_a_model_file_nobody_knows_the_labels(kind: str, tmp_path: Path) -> None:
    """That is said before the server is asked."""
    config = tickets(tmp_path, kind, "http://127.0.0.1:9", model="")
    with pytest.raises(ConfigError, match=r"cascade\.tickets\.stages\.kind: only the file of the model"):
        Engine.open(config)


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", [None, -0.5, 2])
def test_probabilities_that_are_none_are_no_answer(spoilt: float | None, tmp_path: Path) -> None:
    """Null and numbers outside [0, 1] in a distribution."""

    def tweak(answer: Any) -> Any:
        for each in answer.get("answers", {}).values():
            each["probabilities"]["bug"] = spoilt
        return answer

    found = script("systemone")
    found.tweak = tweak
    with (
        ScriptedServer(found) as server,
        Engine.open(tickets(tmp_path, "systemone", server.url)) as engine,
        pytest.raises(BackendError, match="gives probabilities outside"),
    ):
        engine.score("sort", ITEMS[:1], "tickets", "kind")
