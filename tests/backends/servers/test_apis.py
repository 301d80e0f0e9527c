"""What goes over the wire to each kind of server, and what its answers mean: real HTTP on loopback."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from socket import create_server
from typing import Any

import pytest

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Engine, shipped_config
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.backends.servers.api import Prompts, ServerSetup
from cascade.backends.servers.completions import CompletionsApi
from cascade.backends.servers.open import TextTokenizer
from cascade.config.servers import ServedConfig, ServerConfig
from cascade.errors import ConfigError, ServerError
from tests.helpers.server_configs import config, items, labels, p_yes
from tests.helpers.shipped import reading

GGUF = f'path = "{shipped_config().parent / "embedded.gguf"}"'
TYPED = ("systemone", "decisions")
KINDS = ("llama-server", "completions", *TYPED)


def script(kind: str, **settings: Any) -> Script:
    """A server of a kind with the two adapters."""
    owner = "llamacpp" if kind == "llama-server" else "vllm"
    return Script(p=p_yes, adapters=("one", "two"), owner=owner, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_cascade_is_decided_by_a_server(kind: str, tmp_path: Path) -> None:
    """Each item gets the label that the server's answers lead to; without a model file prompts are text."""
    with ScriptedServer(script(kind)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"')
        with Engine.open(opened) as engine:
            report = engine.classify("fix it", items(9), "files")
    assert [decision.label for decision in report.decisions] == labels(9)
    assert report.stats.calls == 9 + 6
    assert all(isinstance(body.get("prompt", ""), str) for _, _, body in server.script.seen)


@pytest.mark.slow
@pytest.mark.parametrize(("keys", "sent"), [("", "list"), ('prompt = "text"', "str")])
@pytest.mark.parametrize("kind", ["llama-server", "completions"])
def test_prompts_are_token_ids_where_a_model_file_makes_them(kind: str, keys: str, sent: str, tmp_path: Path) -> None:
    """With a model file prompts go as the token ids that the embedded backend would use, or as text where it is set."""
    with ScriptedServer(script(kind)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\n{keys}', model=GGUF)
        with Engine.open(opened) as engine:
            engine.classify("fix it", items(1), "files")
    ((_, _, body),) = server.script.seen
    vocabulary = load_vocabulary(shipped_config().parent / "embedded.gguf")
    assert type(body["prompt"]).__name__ == sent
    text: str = body["prompt"] if keys else vocabulary.decode(body["prompt"])
    assert text.startswith("<|task|>Which files matter?")
    assert text.endswith("Task: fix it\nSeed: none<|item|>file file_0000_dropped.py<|ask|>first")


@pytest.mark.slow
def test_a_llama_server_is_told_every_scale(tmp_path: Path) -> None:
    """Each request names the scale of every adapter of the server, and biases both labels alike."""
    with ScriptedServer(script("llama-server")) as server:
        adapters = 'one = { server = "far", name = "one", scale = 0.5 }\ntwo = { server = "far", name = "two.gguf" }'
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}/v1/"', adapters=adapters)
        with Engine.open(opened) as engine:
            report = engine.classify("fix it", items(3), "files")
    first, *_, last = [body for _, _, body in server.script.seen]
    assert first["lora"] == [{"id": 0, "scale": 0.5}, {"id": 1, "scale": 0.0}]
    assert last["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]
    assert first["logit_bias"] == [[455, 100.0], [417, 100.0]]
    assert (first["n_predict"], first["n_probs"], first["cache_prompt"]) == (1, 2, True)
    assert first["post_sampling_probs"]
    assert report.provenance.model == "far/base-model.gguf"
    assert report.provenance.adapters == {"one": "far/base-model.gguf/one", "two": "far/base-model.gguf/two.gguf"}
    assert (report.stats.tokens_decoded, report.stats.tokens_reused) == (50, 450)


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "one"), [("vllm", "one"), ("sglang", "base-model:one"), ("me", "one")])
def test_the_adapter_is_the_model_of_a_completion(owner: str, one: str, tmp_path: Path) -> None:
    """The adapter is asked as the model, by SGLang behind the base model's name; vLLM gets the labels' token ids."""
    with ScriptedServer(Script(p=lambda *_: 0.7, adapters=("one", "two"), owner=owner)) as server:
        opened = config(tmp_path, f'kind = "completions"\nurl = "{server.url}"', model=GGUF)
        with Engine.open(opened) as engine:
            (steps,) = engine.score("fix it", items(1), "files", "first")
    assert steps[0].p_yes == pytest.approx(0.7)
    ((path, _, body),) = server.script.seen
    assert (path, body["model"], body["max_tokens"]) == ("/v1/completions", one, 1)
    assert ("logprob_token_ids" in body) == (owner == "vllm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"yes": -1.0, "no": -2.0, "a": -8.0}, 1 / (1 + 2.718281828**-1)),
        ({"token_id:455": -1.0, "token_id:417": -1.0}, 0.5),
        ({"yes": -1.0, "a": -2.0, "b": -6.0}, 1 / (1 + 2.718281828**-5)),
        ({"no": -1.0, "a": -2.0, "b": -6.0}, 1 / (1 + 2.718281828**5)),
        ({"yes": -1.0, "a": -2.0, "b": -5.0}, None),
        ({"a": -1.0, "b": -9.0}, None),
        ({" yes": -1.0, "no": -2.0}, None),
    ],
    ids=["both", "by id", "no is rare", "yes is rare", "no is missing", "both are missing", "with a space"],
)
def test_a_missing_label_is_bounded_or_an_error(top: dict[str, float], expected: float | None, tmp_path: Path) -> None:
    """A label outside the likeliest tokens is taken at their lowest where that says enough; else it is an error."""

    def tweak(answer: Any) -> Any:
        answer["choices"][0]["logprobs"]["top_logprobs"] = [top]
        return answer

    with ScriptedServer(Script(owner="vllm", adapters=("one", "two"), tweak=tweak)) as server:
        opened = config(tmp_path, f'kind = "completions"\nurl = "{server.url}"', model=GGUF)
        with Engine.open(opened) as engine:
            if expected is None:
                with pytest.raises(ServerError, match=r"labels 'yes' and 'no'.*top_logprobs"):
                    engine.score("fix it", items(1), "files", "first")
            else:
                (steps,) = engine.score("fix it", items(1), "files", "first")
                assert steps[0].p_yes == pytest.approx(expected)


@pytest.mark.parametrize("parent", ["other", {"id": "base-model"}])
def test_an_adapter_of_another_base_model_is_refused(parent: object) -> None:
    """What a server says of an adapter's base model must be the one that is asked, whatever it says."""
    cards = Script(owner="vllm", adapters=("one",)).answer("/v1/models", None)
    cards["data"][1]["parent"] = parent
    setup = ServerSetup(
        name="far",
        config=ServerConfig(kind="completions", url="http://127.0.0.1:9"),
        adapters={"one": ServedConfig(server="far", name="one")},
        prompts=Prompts(text=TextTokenizer.decode, labels=None, yes="yes", no="no"),
    )
    with pytest.raises(ServerError, match=r"not on 'base-model'. Load one for 'base-model' there"):
        CompletionsApi(setup).fetch_info(lambda _path, _body=None: cards)


def test_an_answer_of_another_adapter_is_an_error(tmp_path: Path) -> None:
    """A server that answers with another model than was asked is not believed."""
    with ScriptedServer(
        Script(owner="vllm", adapters=("one", "two"), tweak=lambda answer: answer | {"model": "base-model"})
    ) as server:
        opened = config(tmp_path, f'kind = "completions"\nurl = "{server.url}"')
        with Engine.open(opened) as engine, pytest.raises(ServerError, match="answered as 'base-model' when 'one'"):
            engine.classify("fix it", items(1), "files")


def test_system_one_is_asked_in_words(tmp_path: Path) -> None:
    """The state is task, file and candidate; a question is a stage's full wording; the adapter is the model."""
    with ScriptedServer(script("systemone")) as server:
        opened = config(tmp_path, f'kind = "systemone"\nurl = "{server.url}"')
        with Engine.open(opened) as engine:
            engine.classify("fix <it>", items(1), "files")
    ((path, _, body),) = server.script.seen
    assert path == "/v1/systemone"
    assert body == {
        "model": "one",
        "state": {"task": "fix <it>", "candidate": "file file_0000_dropped.py"},
        "questions": {"q5e32cd8f": {"type": "noul", "instructions": "does it matter?"}},
    }


def test_decisions_are_asked_in_words(tmp_path: Path) -> None:
    """The same as a list of questions, with the state as a text of JSON, and its tokens are counted."""
    with ScriptedServer(script("decisions")) as server:
        opened = config(tmp_path, f'kind = "decisions"\nurl = "{server.url}"')
        with Engine.open(opened) as engine:
            report = engine.classify("fix <it>", items(1), "files")
    ((path, _, body),) = server.script.seen
    assert path == "/v1/decisions"
    assert json.loads(body.pop("input")) == {"task": "fix <it>", "candidate": "file file_0000_dropped.py"}
    question = {"type": "predicate", "name": "q5e32cd8f", "instructions": "does it matter?"}
    assert body == {"model": "one", "questions": [question]}
    assert (report.stats.tokens_decoded, report.stats.tokens_reused) == (10, 90)


@pytest.mark.parametrize("kind", KINDS)
def test_servers_are_told_the_text_that_a_stage_reads(tmp_path: Path, kind: str) -> None:
    """A prompt has the beginning of the text before the question; in words it is a part of the state."""
    with ScriptedServer(script(kind)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"')
        cascade = reading(opened.cascades()["files"], {"first": 8, "second": 8})
        asked = [replace(item, text="<b>\nof a file, and so on. The end is not read.") for item in items(2)]
        with Engine.open(opened, cascades={"files": cascade}) as engine:
            assert engine.classify("fix it", asked, "files").stats.texts_read == 2
    for _, _, body in server.script.seen:
        said = json.dumps(body)
        assert "b> of a file, and" in said
        assert "The end" not in said


def test_system_one_takes_the_questions_of_an_item_together(tmp_path: Path) -> None:
    """Where one model answers all stages, a request holds an item's questions, and what is not needed is dropped."""
    with ScriptedServer(Script(owner="vllm", p=lambda _, prompt: 0.9 if "changed" in prompt else 0.2)) as server:
        opened = config(
            tmp_path,
            f'kind = "systemone"\nurl = "{server.url}"',
            adapters='jev = { server = "far" }',
            asked=("jev", "jev"),
        )
        with Engine.open(opened) as engine:
            report = engine.classify("fix it", items(9), "files")
    assert len(server.script.seen) == 9
    assert {len(body["questions"]) for _, _, body in server.script.seen} == {2}
    assert report.stats.calls_ahead == 9
    assert {decision.label for decision in report.decisions} == {"dropped", "changed"}
    assert [len(decision.steps) for decision in report.decisions[:3]] == [1, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("noul", [1.5, -0.1, float("nan"), None])
def test_probabilities_of_system_one_are_probabilities(noul: object, tmp_path: Path) -> None:
    """What is no number in [0, 1] is asked again, and at last it is an error."""

    def tweak(answer: Any) -> Any:
        return {"answers": {name: {"type": "noul", "noul": noul} for name in answer["answers"]}}

    with ScriptedServer(Script(owner="vllm", adapters=("one", "two"), tweak=tweak)) as server:
        opened = config(tmp_path, f'kind = "systemone"\nurl = "{server.url}"\nattempts = 2')
        with Engine.open(opened) as engine, pytest.raises(ServerError, match=r"'one'.*'first'.*server 'far' gives"):
            engine.classify("fix it", items(1), "files")
    assert len(server.script.seen) == 2


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("llama-server", 'model = "qwen"', "'base-model'.*servers.far.model is 'qwen'"),
        ("completions", 'model = "qwen"', "base-model.*servers.far.model is 'qwen'"),
        ("systemone", 'model = "qwen"', "base-model.*servers.far.model is 'qwen'"),
        ("llama-server", "", "no adapter 'two', which adapters.two names; it has /adapters/one.gguf"),
        ("completions", "", "no adapter 'two', which adapters.two names; it has one"),
        ("systemone", "", "no adapter 'two', which adapters.two names; it has base-model, one"),
    ],
)
def test_a_server_with_something_else_is_refused(kind: str, keys: str, message: str, tmp_path: Path) -> None:
    """Another base model, or a missing adapter, is refused at open, with the name."""
    owner = "llamacpp" if kind == "llama-server" else "vllm"
    with ScriptedServer(Script(adapters=("one",), owner=owner)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\n{keys}')
        with pytest.raises(ServerError, match=message.replace("'base-model'", "base-model")):
            Engine.open(opened)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama-server", "completions"])
def test_a_server_with_another_vocabulary_is_refused(kind: str, tmp_path: Path) -> None:
    """Token ids mean something else there: the labels' own tokens tell."""
    with ScriptedServer(script(kind, labels=(1, 2))) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"', model=GGUF)
        with pytest.raises(ServerError, match=r"tokens \[1\] and \[2\] for the labels, which are \[455, 417\]"):
            Engine.open(opened)


def test_a_llama_server_with_another_shape_is_refused(tmp_path: Path) -> None:
    """What it says of its model's width and vocabulary must be what the model file says."""
    with ScriptedServer(script("llama-server", meta={"n_vocab": 8192, "n_embd": 4096})) as server:
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"', model=GGUF)
        with pytest.raises(ServerError, match=r"'n_embd': 4096.*'n_embd': 256"):
            Engine.open(opened)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreachable_server_is_refused_at_open(kind: str, tmp_path: Path) -> None:
    """Where nothing listens, the error names server and address."""
    with ScriptedServer(Script()) as server:
        url = server.url
    opened = config(tmp_path, f'kind = "{kind}"\nurl = "{url}"')
    with pytest.raises(ServerError, match=f"'far' at {url} does not answer /v1/models"):
        Engine.open(opened)


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_hangs_is_refused_within_its_time(kind: str, tmp_path: Path) -> None:
    """It takes the connection and never says what it has."""
    with create_server(("127.0.0.1", 0)) as hanging:
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with pytest.raises(ServerError, match=f"'far' at {url} does not answer /v1/models .*timed out"):
            Engine.open(config(tmp_path, f'kind = "{kind}"\nurl = "{url}"\ntimeout_s = 0.1'))


def test_another_kind_of_server_is_refused(tmp_path: Path) -> None:
    """A server that is none of the kind that the config says is refused, with the key to look at."""
    with ScriptedServer(Script(owner="vllm", adapters=("one", "two"))) as server:
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"')
        with pytest.raises(ServerError, match=r"answers as no llama-server does.*servers\.far\.kind"):
            Engine.open(opened)


@pytest.mark.parametrize(
    ("servers", "change", "message"),
    [
        ('kind = "ftp"\nurl = "http://h"', {}, "servers.far.kind"),
        ('kind = "systemone"\nurl = "h:80"', {}, "servers.far.url: give an address"),
        ('kind = "systemone"\nurl = "http://me:secret@h"', {}, r"no place in an address.*'http://\*\*\*@h'"),
        ('kind = "systemone"\nurl = "http://me:secret@h:x"', {}, r"no place in an address.*'http://\*\*\*@h:x'"),
        ('kind = "systemone"\nurl = "http://h:80:x"', {}, "servers.far.url: Port could not be cast"),
        ('kind = "systemone"\nurl = "http://h:0"', {}, "servers.far.url: give an address"),
        ('kind = "systemone"\nurl = "http://h\\u0001"', {}, "servers.far.url: give an address"),
        ('kind = "systemone"\nurl = "http://xn--\u2603"', {}, "servers.far.url: Invalid IDNA hostname"),
        ('kind = "systemone"\nurl = "http://h"\nrate = 3', {}, "servers.far.rate: unknown key"),
        (
            'kind = "systemone"\nurl = "http://h"',
            {"adapters": 'one = { server = "near" }'},
            "adapters: one is on the unknown server 'near'; .servers. has far",
        ),
        (
            'kind = "systemone"\nurl = "http://h"',
            {"adapters": 'one = { server = "far", path = "x" }'},
            "adapters.one.path: unknown key",
        ),
        ('kind = "completions"\nurl = "http://h"\nprompt = "tokens"', {}, "servers.far.prompt.*tokenizer"),
        ('kind = "completions"\nurl = "http://h"\nkey_env = "CASCADE_NO_SUCH_KEY"', {}, "CASCADE_NO_SUCH_KEY is not"),
        ('kind = "completions"\nurl = "http://h"', {"asked": ("one", "base")}, "'base' is asked in this process"),
        (
            'kind = "completions"\nurl = "http://h"',
            {"adapters": 'one = { server = "far", scale = 2 }', "asked": ("one", "one")},
            "adapters.one.scale: only a llama-server",
        ),
        (
            'kind = "completions"\nurl = "http://h"',
            {"adapters": 'one = { server = "far" }\nbase = { server = "far" }', "asked": ("one", "base")},
            "adapters.base: this name means",
        ),
    ],
)
def test_a_wrong_config_is_refused(servers: str, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Each key that is wrong is named, before any server hears of it; a password in an address is not repeated."""

    def open_() -> None:
        Engine.open(config(tmp_path, servers, **change))

    with pytest.raises(ConfigError, match=message) as caught:
        open_()
    assert "secret" not in str(caught.value)


def _spoilt(kind: str, answer: Any, value: object) -> Any:
    """An answer with a value in a probability's place."""
    if kind == "llama-server":
        return {"completion_probabilities": [{"top_probs": [{"id": 455, "prob": value}, {"id": 417, "prob": 0.5}]}]}
    if kind == "completions":
        return {"choices": [{"logprobs": {"top_logprobs": [{"yes": value, "no": -1.0}]}}]}
    if kind == "decisions":
        return {"answers": [each | {"probability": value} for each in answer["answers"]]}
    return {"answers": {name: each | {"noul": value} for name, each in answer["answers"].items()}}


@pytest.mark.slow
@pytest.mark.parametrize("value", ["much", [], {}])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_at_all_ends_no_engine(kind: str, value: object, tmp_path: Path) -> None:
    """An answer that no such server gives leaves items with a cause, and the engine goes on."""
    with ScriptedServer(script(kind, tweak=lambda answer: _spoilt(kind, answer, value))) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\nattempts = 1')
        with Engine.open(opened) as engine:
            (decision,) = engine.classify("fix it", items(1), "files").decisions
            assert (decision.steps, bool(decision.cause)) == ((), True)
            server.script.tweak = lambda answer: answer
            assert engine.classify("fix it", items(3), "files").decisions[2].label == "changed"


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 10_000])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, None])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_answers_nan_is_an_error(kind: str, value: object, budget: float | None, tmp_path: Path) -> None:
    """NaN, which JSON writes as null, ends the request with adapter, stage and server, and the engine goes on."""
    with ScriptedServer(script(kind, tweak=lambda answer: _spoilt(kind, answer, value))) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\nattempts = 1')
        with Engine.open(opened) as engine:
            with pytest.raises(ServerError, match=r"'one' gives no number for stage 'first'.*server 'far' gives"):
                engine.classify("fix it", items(40), "files", budget=budget)
            server.script.tweak = lambda answer: answer
            assert engine.classify("fix it", items(3), "files").decisions[2].label == "changed"
            assert engine.n_cached == 0


@pytest.mark.slow
@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize("kind", ["llama-server", *TYPED])
def test_a_server_that_is_sure_is_believed(kind: str, p: int, tmp_path: Path) -> None:
    """A probability of exactly 0 or 1, which rounding makes of a sure one, is an answer."""
    top = {"completion_probabilities": [{"top_probs": [{"id": 455, "prob": p}, {"id": 417, "prob": 1 - p}]}]}
    said = {"llama-server": lambda _: top}.get(kind, lambda answer: _spoilt(kind, answer, p))
    with ScriptedServer(script(kind, tweak=said)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"')
        with Engine.open(opened) as engine:
            (decision,) = engine.classify("fix it", items(1), "files").decisions
    assert {step.p_yes for step in decision.steps} == {p}


@pytest.mark.slow
def test_an_activated_adapter_that_would_stay_off_is_refused(tmp_path: Path) -> None:
    """At open, by name, where a cascade's marker does not switch it on."""
    tokenizer = load_vocabulary(shipped_config().parent / "embedded.gguf")
    first, second = (tuple(tokenizer.encode(f"<|ask|>{name}", special=True)) for name in ("first", "second"))
    with ScriptedServer(Script(adapters=("one", "two"))) as server:
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"', model=GGUF)
        server.script.invocation = first[:1]
        Engine.open(opened).close()
        server.script.invocation = first
        with pytest.raises(ConfigError, match=r"marker 'second' does not hold .* activated adapter 'two' on"):
            Engine.open(opened)
        server.script.invocation = second
        with pytest.raises(ConfigError, match=r"marker 'first' .* activated adapter 'one' on"):
            Engine.open(opened)
