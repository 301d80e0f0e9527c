"""Typed questions to servers of both formats: refusals, partial answers, sums, names, requests of many items."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import zstandard

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Engine, Item, Report, Status
from cascade.errors import ConfigError, ServerError
from tests.backends.servers.test_values import ITEMS, tickets
from tests.helpers.http import serving
from tests.helpers.server_configs import config, items, labels, p_yes

TYPED = ("systemone", "decisions")
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
    "": bytes,
}


def script(**settings: Any) -> Script:
    """A server with the two adapters."""
    return Script(p=p_yes, adapters=("one", "two"), owner="me", **settings)


def both(answer: Any, change: Callable[[list[Any]], list[Any]]) -> Any:
    """An answer of either format with its list of answers changed; those by name keep the names of those left."""
    answers = answer["answers"]
    if isinstance(answers, list):
        return answer | {"answers": change(answers)}
    kept = change([each | {"_": name} for name, each in answers.items()])
    return answer | {"answers": {each.pop("_"): each for each in kept}}


def test_a_refusal_leaves_the_item_with_a_cause(tmp_path: Path) -> None:
    """The item ends where it stands and says why; nothing is asked twice, and the others are decided."""

    def tweak(answer: Any) -> Any:
        return both(answer, lambda found: [_refusal(found[0]) if "read" in seen[-1] else found[0]])

    far = script(tweak=tweak)
    seen = _Texts(far)
    with ScriptedServer(far) as server:
        opened = config(tmp_path, f'kind = "decisions"\nurl = "{server.url}"\nin_flight = 1')
        with Engine.open(opened) as engine:
            dropped, refused, changed = engine.classify("fix it", items(3), "files").decisions
            with pytest.raises(ServerError, match="refuses a question: it is of no use"):
                engine.score("fix it", items(3), "files", "first")
    assert (dropped.label, changed.label) == ("dropped", "changed")
    assert (refused.status, refused.steps) == (Status.DEADLINE, ())
    assert refused.cause == "Server 'far' refuses a question: it is of no use"


class _Texts:
    """The inputs that a server was sent."""

    def __init__(self, far: Script) -> None:
        self._far = far

    def __getitem__(self, at: int) -> str:
        return str(self._far.seen[at][2]["input"])


def _refusal(answer: Any) -> Any:
    return {"type": "refusal", "name": answer["name"], "x_reason": "it is of no use"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPED)
def test_what_an_answer_leaves_out_is_asked_again(kind: str, tmp_path: Path) -> None:
    """A server that answers the first question alone is asked for the others until all are answered."""
    with ScriptedServer(script(tweak=lambda answer: both(answer, lambda found: found[:1]))) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\ntogether = "task"')
        with Engine.open(opened) as engine:
            report = engine.classify("fix it", items(6), "files")
    assert [decision.label for decision in report.decisions] == labels(6)
    sizes = [len(body["questions"]) for _, _, body in server.script.seen]
    assert sizes == [6, 5, 4, 3, 2, 1, 4, 3, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPED)
def test_what_never_comes_is_a_cause_and_the_rest_counts(kind: str, tmp_path: Path) -> None:
    """Where the second answer never comes, the first one is not lost."""

    def first_alone(answer: Any) -> Any:
        return both(answer, lambda found: found[:1] if len(found) > 1 else [])

    with ScriptedServer(script(tweak=first_alone)) as server:
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\ntogether = "task"\nattempts = 1')
        with Engine.open(opened) as engine:
            first, second = engine.classify("fix it", items(2), "files").decisions
    assert (first.label, first.status) == ("dropped", Status.DECIDED)
    assert second.status is Status.DEADLINE
    assert "leaves out an answer" in second.cause


def test_decisions_out_of_order_are_found_by_name(tmp_path: Path) -> None:
    """Answers that have names belong to the questions of these names, whatever their order."""
    with ScriptedServer(script(tweak=lambda answer: both(answer, lambda found: found[::-1]))) as server:
        assert _labels(tmp_path, f'kind = "decisions"\nurl = "{server.url}"\ntogether = "task"', 6) == labels(6)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [each | {"name": None} for each in found[1:]],
        lambda found: [*found, found[0]],
        lambda found: [each | {"name": "q"} for each in found],
    ],
    ids=["one is missing and none has a name", "one too many", "all have one name"],
)
def test_answers_that_cannot_be_told_apart_are_none(change: Callable[[list[Any]], list[Any]], tmp_path: Path) -> None:
    """Rather than to take one for that of another question, every item has a cause."""
    with ScriptedServer(script(tweak=lambda answer: both(answer, change))) as server:
        opened = config(tmp_path, f'kind = "decisions"\nurl = "{server.url}"\ntogether = "task"\nattempts = 1')
        with Engine.open(opened) as engine:
            report = engine.classify("fix it", items(3), "files")
    assert all(decision.cause and not decision.steps for decision in report.decisions)


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("spoilt", [True, "0.7", "type"])
def test_an_answer_of_another_form_is_none(kind: str, spoilt: object, tmp_path: Path) -> None:
    """Neither a truth value nor a text is taken for a probability, nor the answer of a score for that of yes or no."""

    def change(found: list[Any]) -> list[Any]:
        key = "noul" if kind == "systemone" else "probability"
        return [each | ({"type": "score"} if spoilt == "type" else {key: spoilt}) for each in found]

    with (
        ScriptedServer(script(tweak=lambda answer: both(answer, change))) as server,
        Engine.open(config(tmp_path, f'kind = "{kind}"\nurl = "{server.url}"\nattempts = 1')) as engine,
    ):
        (decision,) = engine.classify("fix it", items(1), "files").decisions
    assert not decision.steps
    assert "lacks answers to its questions" in decision.cause


@pytest.mark.parametrize(("kind", "where"), [("systemone", "state"), ("decisions", "input")])
def test_many_items_go_into_one_request(kind: str, where: str, tmp_path: Path) -> None:
    """What the items share is the state; each question has its own item, and a request as many as it may."""
    with ScriptedServer(script()) as server:
        keys = f'kind = "{kind}"\nurl = "{server.url}"\ntogether = "task"\nmost_questions = 4'
        assert _labels(tmp_path, keys, 9) == labels(9)
    bodies = [body for _, _, body in server.script.seen if body["model"] == "one"]
    assert sorted(len(body["questions"]) for body in bodies) == [1, 4, 4]
    state = bodies[0][where] if kind == "systemone" else json.loads(bodies[0][where])
    assert state == {"task": "fix it"}
    questions = bodies[0]["questions"]
    asked = questions if isinstance(questions, list) else list(questions.values())
    assert all(each["instructions"].startswith("does it matter?\ncandidate: file file_000") for each in asked)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPED)
def test_names_of_questions_do_not_depend_on_the_request(kind: str, tmp_path: Path) -> None:
    """Asked with others or alone a question has one name, so that a server to which names matter answers alike."""
    with ScriptedServer(script()) as server:
        for most in (1, 4):
            keys = f'kind = "{kind}"\nurl = "{server.url}"\ntogether = "task"\nmost_questions = {most}'
            assert _labels(tmp_path, keys, 4) == labels(4)
    names = [_names(body) for _, _, body in server.script.seen if body["model"] == "one"]
    (together,) = (own for own in names if len(own) == 4)
    assert sorted(name for own in names if len(own) == 1 for name in own) == sorted(together)
    assert len(set(together)) == 4


def _names(body: Any) -> list[str]:
    questions = body["questions"]
    return [each["name"] for each in questions] if isinstance(questions, list) else list(questions)


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("compress", ["", "gzip", "zstd"])
def test_bodies_are_compressed_if_asked(kind: str, compress: str, tmp_path: Path) -> None:
    """From 1,024 bytes on; what comes out is the body, and a short one goes as it is."""
    keys = f'compress = "{compress}"\n' if compress else ""
    with _keeping() as (url, kept):
        opened = config(tmp_path, f'kind = "{kind}"\nurl = "{url}"\nattempts = 1\n{keys}')
        with Engine.open(opened) as engine:
            engine.classify("fix it", [Item(id="1", kind="file", name="file_dropped")], "files")
            engine.classify("fix it " * 200, [Item(id="1", kind="file", name="file_dropped")], "files")
    (short, first), (long, second) = kept
    assert (short, long) == ("", compress)
    assert b"file_dropped" in first
    assert json.loads(UNPACK[compress](second))["questions"]


@contextmanager
def _keeping(status: int = 404, page: bytes = b"") -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server that keeps how bodies are encoded, and these, and answers nothing; yields its address.

    Args:
        status: That of its list of models.
        page: What it sends as this list.
    """
    kept: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.append((self.headers.get("Content-Encoding", ""), body))
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, kept


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize(
    ("status", "page", "says"),
    [
        (200, b"<html>", r"does not answer /v1/models \(no JSON\)"),
        (200, b"", "does not answer /v1/models"),
        (503, b"", "does not answer /v1/models .*503"),
        (200, b'{"data": []}', "has no adapter 'one'.*it has none"),
    ],
    ids=["HTML", "nothing", "down", "no models"],
)
def test_a_server_that_cannot_say_what_it_has_is_refused(
    status: int, page: bytes, says: str, kind: str, tmp_path: Path
) -> None:
    """At opening, with what is wrong."""
    with _keeping(status, page) as (url, _), pytest.raises(ServerError, match=says):
        Engine.open(config(tmp_path, f'kind = "{kind}"\nurl = "{url}"'))


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize(("status", "page"), [(404, b""), (403, b""), (200, b'["one"]'), (200, b'{"models": ["one"]}')])
def test_a_server_without_a_list_is_accepted_with_a_warning(
    status: int, page: bytes, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some hosted services have none, or one of another form."""
    with _keeping(status, page) as (url, _):
        Engine.open(config(tmp_path, f'kind = "{kind}"\nurl = "{url}"')).close()
    assert "models not checked" in caplog.text
    assert "far" in caplog.text


@pytest.mark.parametrize(
    ("kind", "model", "asked"), [("systemone", "", "jev-latest"), ("systemone", "m", "m"), ("decisions", "m", "m")]
)
def test_the_model_alone_is_asked_by_its_name(kind: str, model: str, asked: str, tmp_path: Path) -> None:
    """By that of the config, or else by the alias that System One's servers have."""
    keys = f'\nmodel = "{model}"' if model else ""
    with _keeping() as (url, kept):
        opened = config(
            tmp_path,
            f'kind = "{kind}"\nurl = "{url}"\nattempts = 1{keys}',
            adapters='one = { server = "far" }\ntwo = { server = "far" }',
        )
        with Engine.open(opened) as engine:
            engine.classify("fix it", items(1), "files")
    assert json.loads(kept[0][1])["model"] == asked


def test_a_decisions_server_needs_a_name_for_its_model(tmp_path: Path) -> None:
    """Where it lists none, and the config names none, that is said before it is asked."""
    with _keeping() as (url, _):
        on_it = 'one = { server = "far" }\ntwo = { server = "far", name = "two" }'
        opened = config(tmp_path, f'kind = "decisions"\nurl = "{url}"', adapters=on_it)
        with pytest.raises(ServerError, match=r"adapters\.one, and must be told which .* servers\.far\.model"):
            Engine.open(opened)


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("key", ['together = "all"', "most_questions = 401", "most_questions = 0", 'compress = "br"'])
def test_wrong_keys_are_refused(kind: str, key: str, tmp_path: Path) -> None:
    """By their names."""
    with pytest.raises(ConfigError, match=rf"servers\.far\.{key.partition(' ')[0]}"):
        config(tmp_path, f'kind = "{kind}"\nurl = "http://h"\n{key}')


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("total", [0.8, 1.2, 0.0])
def test_probabilities_that_do_not_add_up_are_an_error(kind: str, total: float, tmp_path: Path) -> None:
    """Of a choice; the error says what they add up to."""

    def change(found: list[Any]) -> list[Any]:
        return [each | {"probabilities": _scaled(each["probabilities"], total)} for each in found]

    far = Script(p=lambda *_: 0.5, adapters=("one",), owner="me", tweak=lambda answer: both(answer, change))
    with (
        ScriptedServer(far) as server,
        Engine.open(tickets(tmp_path, kind, server.url, keys="attempts = 1")) as engine,
        pytest.raises(ServerError, match="add up to"),
    ):
        engine.score("sort", ITEMS[:1], "tickets", "kind")


def _scaled(shares: Any, factor: float) -> Any:
    if isinstance(shares, dict):
        return {name: factor * p for name, p in shares.items()}
    return [entry | {"probability": factor * entry["probability"]} for entry in shares]


def _labels(folder: Path, keys: str, n: int) -> list[str]:
    """What a server's answers lead to."""
    with Engine.open(config(folder, keys)) as engine:
        report: Report = engine.classify("fix it", items(n), "files")
    return [decision.label for decision in report.decisions]
