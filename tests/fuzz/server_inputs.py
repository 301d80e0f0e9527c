"""What servers answer: to the look at what they have, and to a question."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.wire_server import Script
from cascade import Item, Task
from cascade.backends.base import Query
from cascade.backends.servers.api import MalformedError, Prompts, ServerSetup
from cascade.backends.servers.completions import CompletionsApi
from cascade.backends.servers.decisions import DecisionsForm
from cascade.backends.servers.llama_server import LlamaServerApi
from cascade.backends.servers.open import TextTokenizer
from cascade.backends.servers.system_one import SystemOneForm
from cascade.backends.servers.typed import TypedApi
from cascade.config.servers import ServedConfig, ServerConfig
from cascade.prompt import PromptBuilder, prompt_format
from tests.fuzz.damage import damaged_tree
from tests.fuzz.target import Files, Target

_APIS: dict[str, Any] = {
    "llama-server": LlamaServerApi,
    "completions": CompletionsApi,
    "systemone": lambda setup: TypedApi(setup, SystemOneForm()),
    "decisions": lambda setup: TypedApi(setup, DecisionsForm()),
}
_OWNERS = {"llama-server": "llamacpp", "completions": "vllm", "systemone": "me", "decisions": "me"}
_MODELS = {"decisions": {"model": "base-model"}}
_PATHS = ("/v1/models", "/props", "/lora-adapters")


def _peer(kind: str) -> ServerSetup:
    return ServerSetup(
        name="far",
        config=ServerConfig.model_validate({"kind": kind, "url": "http://127.0.0.1:9"} | _MODELS.get(kind, {})),
        adapters={"one": ServedConfig(server="far", name="one"), "base": ServedConfig(server="far")},
        prompts=Prompts(text=TextTokenizer.decode, labels=(455, 417), yes="yes", no="no"),
    )


def _query() -> Query:
    builder = PromptBuilder(prompt_format("embedded"), TextTokenizer())
    item = builder.item(builder.task("Answer.", [], Task(text="fix it")), Item(id="1", kind="class", name="Cache"))
    return Query(builder.question(item, "matter"), "one", wording="does it matter?")


@st.composite
def _answers(draw: DrawFn) -> Files:
    """Every answer of a server, one of them damaged."""
    kind = draw(st.sampled_from(sorted(_APIS)))
    script = Script(p=lambda *_: 0.25, adapters=("one", "two"), owner=_OWNERS[kind], invocation=(7, 8))
    answers = {path: script.answer(path, None) for path in _PATHS}
    answers |= {text: script.answer("/tokenize", {"content": text}) for text in ("yes", "no")}
    api = _APIS[kind](_peer(kind))
    api.fetch_info(lambda path, body=None: script.answer(path, body))
    (ask,) = api.asks([_query()])
    answers["answer"] = script.answer(ask.path, ask.body)
    chosen = draw(st.sampled_from(["answer", "answer", *answers]))
    answers[chosen] = draw(damaged_tree(answers[chosen]))
    return {f"{kind}.json": json.dumps(answers, default=str).encode()}


def take_answers(folder: Path) -> bool:
    """Look at a server, ask it, and read its answer; one that is not understood is asked for again, or refused."""
    (file,) = folder.iterdir()
    answers = json.loads(file.read_bytes())

    def call(path: str, body: Any = None) -> Any:
        return answers[body.get("content") or body.get("prompt") if body else path]

    api = _APIS[file.stem](_peer(file.stem))
    try:
        served = api.fetch_info(call)
        (ask,) = api.asks([_query()])
        answer = api.read(ask, answers["answer"])
    except MalformedError:
        return False
    assert isinstance(served.model, str)
    assert len(answer.logits) == 1
    assert answer.refused or all(math.isfinite(logit) for logit in answer.logits)
    return True


TARGETS = (Target(name="servers", share=4, files=_answers(), take=take_answers),)
