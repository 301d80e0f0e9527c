"""Keys of servers: found where the config says, sent, and shown to nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.wire_server import Fault, Script, ScriptedServer
from cascade import CascadeError, Engine
from cascade.backends.servers.http import Key, read_key
from cascade.config.servers import ServerConfig
from cascade.errors import ConfigError, MachineError
from tests.helpers.server_configs import config, items

SECRET = "sk-not-for-anybodys-eyes"  # noqa: S105 - of nobody


@pytest.fixture(name="variable")
def _variable(monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment variable that holds a key."""
    monkeypatch.setenv("CASCADE_TEST_KEY", f" {SECRET}\n")
    return "CASCADE_TEST_KEY"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.NONE, Fault.ERROR, Fault.DROP, Fault.REFUSE, Fault.NO_JSON, Fault.WRONG])
def test_a_key_is_sent_and_never_shown(
    fault: Fault, variable: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server gets it as a bearer token; no log at any level, output, error, report or repr has it."""
    script = Script(adapters=("one", "two"), fault=lambda _: fault, echo="authorization")
    keys = f'kind = "llama-server"\nkey_env = "{variable}"\nattempts = 2'
    told = []
    with caplog.at_level(logging.DEBUG), ScriptedServer(script) as server:
        opened = config(tmp_path, f'{keys}\nurl = "{server.url}"')
        with Engine.open(opened) as engine:
            try:
                told.append(repr(engine.classify("fix it", items(3), "files").as_dict()))
            except CascadeError as error:
                told += [str(error), repr(error.__cause__), repr(error.__context__)]
            told.append(repr(vars(engine)))
    assert {headers["authorization"] for _, headers, _ in script.seen} == {f"Bearer {SECRET}"}
    captured = capfd.readouterr()
    assert SECRET not in " ".join((*told, repr(opened), caplog.text, captured.out, captured.err))


def test_a_refused_key_is_not_repeated(variable: str, tmp_path: Path) -> None:
    """A server that cannot be opened with the key is named, without it."""
    with ScriptedServer(Script(adapters=("one",))) as server:
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"\nkey_env = "{variable}"')
        with pytest.raises(CascadeError) as found:
            Engine.open(opened)
    assert SECRET not in f"{found.value!r} {found.value.__cause__!r} {found.value.__context__!r}"


def test_a_key_hides_itself() -> None:
    """Neither its repr nor a text that a server sent back has it."""
    assert SECRET not in repr(Key(SECRET))
    assert Key(SECRET).hidden(f"Incorrect key: {SECRET}.") == "Incorrect key: ***."
    assert Key().hidden("as it is") == "as it is"
    assert Key().headers == {}


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_key_that_is_not_there_is_named(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent or blank variable is refused before any server hears of it."""
    monkeypatch.delenv("CASCADE_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("CASCADE_TEST_KEY", value)
    entry = ServerConfig(kind="completions", url="http://127.0.0.1:1", key_env="CASCADE_TEST_KEY")
    with pytest.raises(ConfigError, match=r"servers\.gpu\.key_env: .*CASCADE_TEST_KEY is not set"):
        read_key("gpu", entry)


@pytest.mark.parametrize("sign", ["\n", "\x07", "é"])
def test_a_key_that_no_header_carries_is_refused(sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before httpx sees it, whose errors would show it; the message does not."""
    monkeypatch.setenv("CASCADE_TEST_KEY", f"{SECRET}{sign}{SECRET}")
    entry = ServerConfig(kind="completions", url="http://127.0.0.1:1", key_env="CASCADE_TEST_KEY")
    with pytest.raises(ConfigError, match=r"CASCADE_TEST_KEY holds signs that no header carries") as found:
        read_key("gpu", entry)
    assert SECRET not in repr(found.value)


@pytest.fixture(name="ring")
def _ring() -> Iterator[dict[tuple[str, str], str]]:
    """A keyring of this test's own: what it holds."""
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")
    errors = pytest.importorskip("keyring.errors")
    held: dict[tuple[str, str], str] = {}

    class Ring(backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if service == "locked":
                raise errors.KeyringLocked
            if service == "broken":
                raise ConnectionRefusedError
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del held[service, username]

    before = keyring.get_keyring()
    keyring.set_keyring(Ring())
    yield held
    keyring.set_keyring(before)


def test_a_key_may_lie_in_the_keyring(ring: dict[tuple[str, str], str]) -> None:
    """The service is the config's, the user is the server's name; what is not there, or locked, is said."""
    entry = ServerConfig(kind="completions", url="http://127.0.0.1:1", keyring="cascade")
    with pytest.raises(ConfigError, match="user 'gpu' of the service 'cascade' is not set"):
        read_key("gpu", entry)
    ring["cascade", "gpu"] = SECRET
    assert read_key("gpu", entry).value == SECRET
    for service in ("locked", "broken"):
        with pytest.raises(MachineError, match="cannot be opened"):
            read_key("gpu", entry.model_copy(update={"keyring": service}))
