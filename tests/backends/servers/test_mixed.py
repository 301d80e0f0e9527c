"""Cascades that are answered partly here and partly by servers, and prompts without a model at hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Config, Engine, shipped_config
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.backends.servers.open import TextTokenizer
from cascade.config.lock import questions_at_hand
from cascade.config.profile import MadeForConfig
from cascade.errors import ConfigError, InputError
from tests.helpers.requests import symbols
from tests.helpers.shipped import CASCADES, questions_alone
from tests.tuning.test_search import locked

pytestmark = pytest.mark.slow

SHIPPED = questions_alone()
VOCABULARY = load_vocabulary(shipped_config().parent / "embedded.gguf")


def mixed(servers: dict[str, Any], served: dict[str, Any]) -> Config:
    """The shipped config with some adapters on servers."""
    table = SHIPPED.model_dump(exclude_none=True, exclude_unset=True)
    return Config.model_validate(table | {"servers": servers, "adapters": table["adapters"] | served})


def test_the_first_stage_here_and_the_last_on_a_server() -> None:
    """Stages that stay here answer as ever, those on a server as it says; both stand in steps and provenance."""
    task, candidates = symbols(3, 40)
    script = Script(p=lambda name, _: 0.75 if name == "primary-lora" else 0.1, adapters=("primary-lora",), owner="vllm")
    with ScriptedServer(script) as server:
        servers = {"gpu": {"kind": "completions", "url": server.url, "model": "base-model"}}
        opened = mixed(servers, {"primary": {"server": "gpu", "name": "primary-lora"}})
        with Engine.open(opened) as engine:
            report = engine.classify(task, candidates, "precision")
            assert engine.n_cached == 0
    with Engine.open(SHIPPED) as engine:
        alone = engine.classify(task, candidates, "precision")
    passed = [decision for decision in report.decisions if len(decision.steps) > 1]
    assert len(script.seen) == len(passed) > 2
    assert all(isinstance(body["prompt"][0], int) for _, _, body in script.seen)
    for here, there in zip(alone.decisions, report.decisions, strict=True):
        assert there.steps[0].p_yes == pytest.approx(here.steps[0].p_yes, abs=1e-3)
        assert [step.p_yes for step in there.steps[1:]] == pytest.approx([0.75] * (len(there.steps) - 1))
        assert there.label == ("primary" if len(there.steps) > 1 else "excluded")
    assert report.provenance.adapters["primary"] == "gpu/base-model/primary-lora"
    assert report.provenance.adapters["relevant"] == alone.provenance.adapters["relevant"]
    assert report.provenance.model == alone.provenance.model


def test_two_servers_and_this_process_in_one_cascade() -> None:
    """Each stage goes to the server that its adapter's entry names, whatever kind that is."""
    task, candidates = symbols(4, 30)
    first = Script(p=lambda *_: 0.9, adapters=("keep",), owner="vllm")
    last = Script(p=lambda *_: 0.8, owner="jev")
    with ScriptedServer(first) as gpu, ScriptedServer(last) as jev:
        servers = {
            "gpu": {"kind": "completions", "url": gpu.url, "in_flight": 4},
            "jev": {"kind": "systemone", "url": jev.url},
        }
        opened = mixed(servers, {"relevant": {"server": "gpu", "name": "keep"}, "supporting": {"server": "jev"}})
        with Engine.open(opened) as engine:
            report = engine.classify(task, candidates, "precision")
    assert len(first.seen) == 30
    assert len(last.seen) == sum(len(decision.steps) == 3 for decision in report.decisions) > 0
    assert set(report.labels()) <= {"primary", "supporting", "type_context"}
    assert "is it called or used" in str(last.seen[0][2]["questions"])


def test_adapters_here_are_swapped_and_those_on_servers_are_not() -> None:
    """Beside a server an adapter of this process gets another file; that of the server is refused, and stays."""
    task, candidates = symbols(3, 12)
    script = Script(p=lambda *_: 0.75, adapters=("primary-lora",), owner="vllm")
    with ScriptedServer(script) as server:
        servers = {"gpu": {"kind": "completions", "url": server.url, "model": "base-model"}}
        opened = mixed(servers, {"primary": {"server": "gpu", "name": "primary-lora"}})
        with Engine.open(opened) as engine:
            before = engine.classify(task, candidates, "precision")
            supporting = shipped_config().parent / "supporting.gguf"
            engine.swap_adapter("relevant", supporting)
            after = engine.classify(task, candidates, "precision")
            with pytest.raises(InputError, match="'primary' is on a server"):
                engine.swap_adapter("primary", supporting)
    assert (
        after.provenance.adapters["primary"] == before.provenance.adapters["primary"] == "gpu/base-model/primary-lora"
    )
    assert after.provenance.adapters["relevant"] != before.provenance.adapters["relevant"]
    firsts = [[decision.steps[0].p_yes for decision in report.decisions] for report in (before, after)]
    assert firsts[0] != firsts[1]


@given(st.text())
def test_text_prompts_can_be_read_back(text: str) -> None:
    """The format's own text comes back as it is; text from outside has no "<" that begins a special token."""
    tokenizer = TextTokenizer()
    assert tokenizer.decode(tokenizer.encode(text, special=True)) == text
    outside = tokenizer.decode(tokenizer.encode(text, special=False))
    assert outside.replace("< ", "<") == text.replace("< ", "<")
    assert all(after.isspace() for before, after in pairwise(outside) if before == "<")


PIECES = ("<|item|>", "<|ask|>", "<|endoftext|>", "a", " ", "é", "\n", "<", "|", ">", "<|", "|>", "ask")


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_token_prompts_can_be_written_as_text(text: str) -> None:
    """Special tokens of the format are text again, and text from outside becomes none of them, however it is cut."""
    prompt = VOCABULARY.encode("<|task|>", special=True) + VOCABULARY.encode(text, special=False)
    again = VOCABULARY.encode(VOCABULARY.decode(prompt), special=True)
    specials = {VOCABULARY.encode(special, special=True)[0] for special in ("<|item|>", "<|ask|>", "<|endoftext|>")}
    assert again[0] == prompt[0]
    assert not specials & set(again)


def test_an_adapter_named_base_is_refused_with_servers() -> None:
    """``base`` is what this process has without an adapter."""
    servers = {"gpu": {"kind": "completions", "url": "http://127.0.0.1:1"}}
    with pytest.raises(ConfigError, match=r"adapters\.base: this name means"):
        Engine.open(mixed(servers, {"base": {"server": "gpu"}}))


@pytest.mark.parametrize("change", ["model", "prompt"])
def test_another_base_model_or_other_prompts_are_not_what_was_tuned_with(change: str) -> None:
    """A server that has changed its base model, or gets its prompts as text now, is another one for the lock."""
    cascade = CASCADES["precision"]
    found = []
    for changed in (False, True):
        model = "other-model" if changed and change == "model" else "base-model"
        with ScriptedServer(Script(adapters=("keep",), owner="vllm", model=model)) as server:
            table = {"kind": "completions", "url": server.url}
            table |= {"prompt": "text"} if changed and change == "prompt" else {}
            opened = mixed({"gpu": table}, {"primary": {"server": "gpu", "name": "keep"}})
            with Engine.open(opened) as engine:
                made_by = engine.info.provenance
        found.append((made_by.adapters["primary"], questions_at_hand(opened, cascade, made_by)))
    (adapter, questions), (other_adapter, other_questions) = found
    assert (adapter == other_adapter, questions == other_questions) == (change != "model", change != "prompt")


def test_tuned_thresholds_need_what_they_were_tuned_with() -> None:
    """Thresholds that were tuned with a file guarantee nothing of an adapter on a server; those tuned with it do."""
    cascade = CASCADES["precision"]
    with ScriptedServer(Script(adapters=("keep",), owner="vllm")) as server:
        servers = {"gpu": {"kind": "completions", "url": server.url}}
        opened = mixed(servers, {"primary": {"server": "gpu", "name": "keep"}})
        with Engine.open(opened) as engine:
            provenance = engine.info.provenance
        adapters = {name: provenance.adapters[name] for name in cascade.adapters()}
        for known in (adapters, adapters | {"primary": "a file's hash"}):
            file = locked(cascade, 0.5)
            made_for = MadeForConfig(
                model=provenance.model,
                data="d",
                questions=questions_at_hand(opened, cascade, provenance),
                adapters=known,
            )
            entry = opened.cascade["precision"].model_copy(
                update={"thresholds": file.model_copy(update={"made_for": made_for})}
            )
            changed = opened.model_copy(update={"cascade": {"precision": entry}})
            if known is adapters:
                Engine.open(changed).close()
            else:
                with pytest.raises(ConfigError, match="adapter 'primary' is not what these thresholds"):
                    Engine.open(changed)
