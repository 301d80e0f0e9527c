"""What the page of frameworks shows is what happens: programs run, the config starts a server, keys are real."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from openai import OpenAI

from cascade import Engine
from cascade.integrations.filtering import CascadeFilter
from cascade.integrations.mcp import TOOLS
from cascade.integrations.relevance import Match
from cascade.service.metrics import Metrics
from tests.helpers.pages import ROOT, blocks, text_of
from tests.helpers.service import serving
from tests.integrations.tickets import EMBEDDED

PAGE = "cascade/integrations/README.md"
LANGCHAIN, LLAMA_INDEX, BARGAIN = range(3)


@pytest.mark.slow
@pytest.mark.parametrize("program", [LANGCHAIN, LLAMA_INDEX, BARGAIN])
def test_programs_run(
    program: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand, beside the config that the page shows, with the shipped model in place of a larger one."""
    config = blocks(PAGE, "toml")[0].replace("Qwen3-0.6B-Q8_0.gguf", EMBEDDED.as_posix())
    (tmp_path / "passages.toml").write_text(config.replace('"qwen3"', '"embedded"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(blocks(PAGE, "python")[program], PAGE, "exec"), known)  # noqa: S102 - the page's own code
    printed = capsys.readouterr().out
    if program == BARGAIN:
        kept = {int(at) for at in known["kept"]}
        assert len(kept & set(range(40))) >= 36
        assert f"{len(kept)} records hold" in printed
    else:
        labels = [one.metadata["cascade"]["label"] for one in known["kept"]]
        assert set(labels) <= {"background", "answer"}
        assert all(label in printed for label in labels)


@pytest.mark.slow
def test_a_pipeline_of_docetl_finds_its_proxy(tmp_path: Path) -> None:
    """The model that it names answers, over a real socket, in the form in which DocETL 0.3 asks."""
    (model,) = re.findall(r"proxy_model: hosted_vllm/(\w+)", blocks(PAGE, "yaml")[0])
    config = blocks(PAGE, "toml")[0].replace("Qwen3-0.6B-Q8_0.gguf", EMBEDDED.as_posix())
    (tmp_path / "passages.toml").write_text(config.replace('"qwen3"', '"embedded"'), encoding="utf-8")
    messages: Any = [
        {"role": "system", "content": "You are a precise classifier."},
        {"role": "user", "content": "Uploads are tried three times."},
        {"role": "user", "content": "Answer with ONLY the single number of the best option.\n\n1 = True\n2 = False"},
    ]
    with (
        Engine.open(tmp_path / "passages.toml") as engine,
        serving(engine, Metrics()) as url,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = client.chat.completions.create(
            model=model, messages=messages, logprobs=True, top_logprobs=10, max_tokens=1, temperature=0
        )
    (choice,) = answer.choices
    assert choice.logprobs
    assert choice.logprobs.content
    assert {one.token for one in choice.logprobs.content[0].top_logprobs} == {"1", "2"}


@pytest.mark.slow
def test_the_agents_config_starts_a_server(tmp_path: Path) -> None:
    """The command and its arguments offer the two tools of the page, with the arguments of its table."""
    entry = json.loads(blocks(PAGE, "json")[0])["mcpServers"]["cascade"]
    assert entry["command"] == "cascade"
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "cascade", *entry["args"]], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path
    )

    async def tools() -> Any:
        async with Client(stdio_client(parameters, sys.stderr)) as client:
            return (await client.list_tools()).tools

    found = asyncio.run(tools())
    told = re.findall(r"^\| `(\w+)` \|", text_of(PAGE), re.MULTILINE)
    assert [tool.name for tool in found] == list(TOOLS) == [name for name in told if name in TOOLS]
    for tool in found:
        assert set(tool.input_schema["properties"]) <= set(told)


def test_a_match_has_the_real_keys() -> None:
    """The example of a match is one."""
    shown = json.loads(blocks(PAGE, "json")[1])
    assert list(shown) == list(Match.model_fields)
    assert Match.model_validate(shown).model_dump() == shown


def test_every_setting_is_told() -> None:
    """The table has the settings of the filter, no more and no fewer."""
    table = text_of(PAGE).split("### What both do")[1].split("\n- ")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert told == set(CascadeFilter.model_fields)
