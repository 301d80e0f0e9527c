"""A cascade as a chat model that says True or False, asked by the openai client over a real socket."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from cascade.service.metrics import Metrics
from cascade.service.settings import ServiceSettings
from tests.helpers.service import serving
from tests.integrations.tickets import TEXTS, scripted

NOW, LATER, TODAY, REVIEW = TEXTS
MENU = "Answer with ONLY the single number of the best option below.\n\n1 = True\n2 = False"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OpenAI]:
    """A client of a service whose engine answers by what stands in the texts."""
    with (
        scripted(tmp_path) as engine,
        serving(engine, Metrics(), ServiceSettings(aliases={"cheap": "tickets"})) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def ask(client: OpenAI, *messages: tuple[str, Any], **more: Any) -> Any:
    """The answer to messages."""
    given: Any = [{"role": role, "content": content} for role, content in messages]
    return client.chat.completions.create(model="tickets", messages=given, logprobs=True, top_logprobs=5, **more)


@pytest.mark.parametrize(
    ("text", "said", "p", "label", "status"),
    [
        (NOW, "True", 0.9, "now", "decided"),
        (LATER, "False", 0.1, "later", "decided"),
        (REVIEW, "False", 0.4, "review", "uncertain"),
    ],
)
def test_one_token_says_whether_a_text_is_kept(
    text: str, said: str, p: float, label: str, status: str, client: OpenAI
) -> None:
    """With the logprobs of both; the users' first message is judged, and other roles are not."""
    answer = ask(client, ("system", "You are a classifier: waiting 0 broken 0"), ("user", text), max_tokens=1)
    (choice,) = answer.choices
    assert choice.message.content == said
    (token,) = choice.logprobs.content
    found = {one.token: math.exp(one.logprob) for one in token.top_logprobs}
    assert found == pytest.approx({"True": p, "False": 1 - p})
    assert token.token == said
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 1
    assert answer.model_extra == {"x_cascade": {"label": label, "p": p, "status": status}}


def test_a_menu_is_answered_by_its_digits(client: OpenAI) -> None:
    """Whichever of the two stands first; a menu of something else is no menu."""
    for menu, said in ((MENU, "1"), (MENU.replace("1 =", "3 ="), "3"), (MENU.replace("True", "Yes"), "True")):
        answer = ask(client, ("user", NOW), ("user", menu))
        assert answer.choices[0].message.content == said


def test_parts_of_a_message_are_read(client: OpenAI) -> None:
    """Texts are; pictures are not."""
    parts = [{"type": "text", "text": NOW}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert ask(client, ("user", parts)).choices[0].message.content == "True"


def test_logprobs_are_told_if_they_are_wanted(client: OpenAI) -> None:
    """Otherwise the answer has none."""
    messages: Any = [{"role": "user", "content": TODAY}]
    answer = client.chat.completions.create(model="tickets", messages=messages)
    assert answer.choices[0].logprobs is None


def test_an_alias_is_a_model(client: OpenAI) -> None:
    """The answer says what was asked for."""
    messages: Any = [{"role": "user", "content": NOW}]
    answer = client.chat.completions.create(model="cheap", messages=messages)
    assert (answer.model, answer.choices[0].message.content) == ("cheap", "True")


def test_mistakes_are_told(client: OpenAI) -> None:
    """An unknown model, a stream, nothing to judge."""
    messages: Any = [{"role": "user", "content": NOW}]
    cases: list[tuple[int, str, dict[str, Any]]] = [
        (404, "Unknown cascade 'letters'; there are tickets", {"model": "letters"}),
        (400, "stream: is not offered", {"stream": True}),
        (400, "the user says nothing", {"messages": [{"role": "system", "content": NOW}]}),
        (400, "the user says nothing", {"messages": [{"role": "user", "content": " "}]}),
        (400, "the user says nothing", {"messages": [{"role": "user", "content": None}]}),
        (400, "messages", {"messages": []}),
    ]
    for status, says, given in cases:
        with pytest.raises(APIStatusError) as caught:
            client.chat.completions.create(**({"model": "tickets", "messages": messages} | given))
        assert caught.value.status_code == status
        assert says in caught.value.message
