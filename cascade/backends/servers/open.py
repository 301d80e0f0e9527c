"""From a config with servers to a backend: keys found, servers looked at, and what is in this process loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from cascade.backends.base import BackendInfo
from cascade.backends.beside import ALONE, Beside
from cascade.backends.costs import CallSizes, Costs
from cascade.backends.servers.api import Prompts, ServerApi, ServerInfo, ServerSetup
from cascade.backends.servers.backend import ServerBackend
from cascade.backends.servers.completions import CompletionsApi
from cascade.backends.servers.decisions import DecisionsForm
from cascade.backends.servers.http import ServerClient, read_key
from cascade.backends.servers.llama_server import LlamaServerApi
from cascade.backends.servers.router import Router
from cascade.backends.servers.system_one import SystemOneForm
from cascade.backends.servers.typed import TypedApi
from cascade.config.schema import Config
from cascade.config.servers import Kind, ServedConfig
from cascade.errors import ConfigError
from cascade.models.base_model import ModelInfo
from cascade.models.model_set import ModelSet, load_model_set
from cascade.prompt import PromptBuilder, PromptFormat, Tokenizer, prompt_format
from cascade.report import Provenance
from cascade.stages import ANY_TIER, BASE, SERVED
from cascade.tree import Cascade

_LENGTH = 3
_BITS = 21  # of a code point


class TextTokenizer:
    """Behind the ``Tokenizer`` protocol.

    Special tokens are not known here. In the models of our prompt formats their texts begin with "<", so text from
    outside gets a space behind each "<" that has none.
    """

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``cascade.prompt.Tokenizer``."""
        if not special:
            text = re.sub(r"<(?=\S)", "< ", text)
        return [_packed(text[at : at + _LENGTH]) for at in range(0, len(text), _LENGTH)]

    @staticmethod
    def decode(tokens: Sequence[int]) -> str:
        """The text of token ids."""
        return "".join(_unpacked(token) for token in tokens)


def _packed(part: str) -> int:
    return sum((ord(char) + 1) << _BITS * at for at, char in enumerate(part))


def _unpacked(token: int) -> str:
    chars = []
    while token:
        chars.append(chr(token % (1 << _BITS) - 1))
        token >>= _BITS
    return "".join(chars)


if TYPE_CHECKING:
    from cascade.backends.llama.backend import LlamaBackend

_APIS: Mapping[Kind, Callable[[ServerSetup], ServerApi]] = {
    "llama-server": LlamaServerApi,
    "completions": CompletionsApi,
    "systemone": lambda setup: TypedApi(setup, SystemOneForm()),
    "decisions": lambda setup: TypedApi(setup, DecisionsForm()),
}
_PLENTY = 1_000_000_000  # of nodes and tokens to keep: servers keep what they like
_PER_SLOT = 16  # questions of a batch for each request that may be in flight


class _Reader(Tokenizer, Protocol):
    """A tokenizer that can read back what it wrote."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    """What of a config is in this process.

    Attributes:
        form: The prompt format.
        tokenizer: The model file's, or one for text.
        model: What the model file says; None without one.
        backend: What answers here; None if servers answer everything.
    """

    form: PromptFormat
    tokenizer: _Reader
    model: ModelInfo | None = None
    backend: LlamaBackend | None = None

    @property
    def prompts(self) -> Prompts:
        """How prompts are written for servers."""
        labels = PromptBuilder(self.form, self.tokenizer).label_tokens() if self.model else None
        return Prompts(text=self.tokenizer.decode, labels=labels, yes=self.form.yes, no=self.form.no, model=self.model)


def open_servers(
    config: Config,
    cascades: Mapping[str, Cascade],
    labels: tuple[str, str] | None = None,
    models: ModelSet | None = None,
    beside: Beside = ALONE,
) -> Router:
    """Look at the servers that cascades ask, and load what is asked in this process.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        cascades: Whose questions will be asked.
        labels: Texts of the tokens that mean yes and no; None for those of the config's prompt format.
        models: What ``load_model_set`` made of the config, so that no file is hashed twice; None to load it.
        beside: The other models of the engine.

    Raises:
        ConfigError: The config does not hold together, or a package is missing.
        ModelFileError: A file is missing, damaged or does not fit.
        ServerError: A server cannot be reached, serves another base model, or lacks an adapter.
    """
    if BASE in config.adapters:
        msg = f'adapters.{BASE}: this name means the model of this process. Choose another, and name = "{BASE}" there.'
        raise ConfigError(msg)
    if labels is not None:
        _check_labels(config, cascades, labels)
    _check_values(config, cascades)
    here = _load(config, cascades, labels, models, beside)
    with ExitStack() as stack:
        if here.backend is not None:
            stack.callback(here.backend.abandon)
        asked = dict.fromkeys(entry.server for entry in config.served.values())
        servers = {name: _server(name, config, here.prompts) for name in asked}
        infos = {name: server.fetch_info() for name, server in servers.items()}
        info = _info(config, here, servers, infos)
        for cascade in cascades.values():
            info.check(cascade, beside.adapters)
        stack.pop_all()
    return Router(info, {name: servers[entry.server] for name, entry in config.served.items()}, here.backend)


def _check_labels(config: Config, cascades: Mapping[str, Cascade], labels: tuple[str, str]) -> None:
    """Refuse labels other than the format's where a server could not tell them apart."""
    for adapter in sorted(_asked(cascades) & config.served.keys()):
        server = config.served[adapter].server
        if config.servers[server].is_typed:
            kind = config.servers[server].kind
            msg = f"servers.{server}: {kind} answers yes or no alone, and cannot tell {' from '.join(labels)}."
            raise ConfigError(msg)
        if not config.model.has_source:
            msg = (
                f"model.path: only the file of the model that server {server!r} has says which tokens stand for "
                f"{' and '.join(labels)}. Give it."
            )
            raise ConfigError(msg)


def _check_values(config: Config, cascades: Mapping[str, Cascade]) -> None:
    """Refuse a choice or score where nobody knows which tokens stand for its values on the server that answers."""
    if config.model.has_source:
        return
    for cascade in cascades.values():
        for stage in cascade.stages:
            entry = config.served.get(stage.question(ANY_TIER).adapter) if stage.has_values else None
            if entry is not None and not config.servers[entry.server].is_typed:
                msg = (
                    f"cascade.{cascade.name}.stages.{stage.name}: only the file of the model that server "
                    f"{entry.server!r} has says which tokens stand for its values. Give it as model.path."
                )
                raise ConfigError(msg)


def _asked(cascades: Mapping[str, Cascade]) -> set[str]:
    """Names of the adapters that cascades ask."""
    return {question.adapter for cascade in cascades.values() for question in cascade.questions()}


def _load(
    config: Config,
    cascades: Mapping[str, Cascade],
    labels: tuple[str, str] | None,
    models: ModelSet | None,
    beside: Beside,
) -> _Here:
    """What cascades ask of this process: nothing, a vocabulary, or a model with its adapters."""
    asked_here = _asked(cascades) - config.served.keys() - set(beside.adapters)
    if not config.model.has_source:
        if asked_here:
            name = min(asked_here)
            msg = (
                f"model.path: adapter {name!r} is asked in this process, and no model is given. Give one, or a server."
            )
            raise ConfigError(msg)
        return _Here(form=prompt_format(config.model.format, labels), tokenizer=TextTokenizer())
    models = models or load_model_set(config)
    if models.model.is_encoder:
        name = min(config.served)
        msg = f"adapters.{name}: a server has it, and its model is an encoder, which runs in this process. Give a file."
        raise ConfigError(msg)
    form = prompt_format(config.model.format, labels)
    if asked_here:
        from cascade.backends.llama.open import open_backend  # noqa: PLC0415 - llama_cpp loads only where it is used

        backend = open_backend(config, cascades, models=models, labels=labels, beside=beside)
        return _Here(form=form, tokenizer=backend.tokenizer, model=models.model, backend=backend)
    from cascade.backends.llama.tokenizer import load_vocabulary  # noqa: PLC0415 - as above

    tokenizer = load_vocabulary(models.model_path)
    models.check_files()
    return _Here(form=form, tokenizer=tokenizer, model=models.model)


def _server(name: str, config: Config, prompts: Prompts) -> ServerBackend:
    entry = config.servers[name]
    adapters = {adapter: served for adapter, served in config.served.items() if served.server == name}
    for adapter, served in adapters.items():
        if served.scale != 1 and entry.kind != "llama-server":
            msg = f"adapters.{adapter}.scale: only a llama-server can be told one; leave it away."
            raise ConfigError(msg)
    setup = ServerSetup(name=name, config=entry, adapters=adapters, prompts=prompts)
    if setup.sends_tokens and prompts.labels is None:
        msg = f'servers.{name}.prompt: "tokens" needs the tokenizer of [model]; give its file, or send text.'
        raise ConfigError(msg)
    return ServerBackend(setup, _APIS[entry.kind](setup), ServerClient(name, entry, read_key(name, entry)))


def _known(entry: ServedConfig, server: ServerBackend, fetch_info: ServerInfo) -> str:
    """What stands for a served adapter where a file's hash would; models that take typed questions share no base."""
    is_typed = server.setup.config.is_typed
    return f"{entry.server}/{entry.name}" if is_typed else f"{entry.server}/{fetch_info.model}/{entry.name}"


def _info(
    config: Config, here: _Here, servers: Mapping[str, ServerBackend], infos: Mapping[str, ServerInfo]
) -> BackendInfo:
    """What the engine must know of all backends together."""
    own = here.backend.info if here.backend is not None else None
    known = {name: _known(entry, servers[entry.server], infos[entry.server]) for name, entry in config.served.items()}
    labels = here.prompts.labels
    longest = [fetch_info.max_prompt for fetch_info in infos.values() if fetch_info.max_prompt is not None]
    costs, slowdown = (own.costs, own.slowdown) if own else (Costs(), 1.0)
    return BackendInfo(
        provenance=Provenance(
            model=own.provenance.model
            if own
            else ", ".join(f"{name}/{fetch_info.model}" for name, fetch_info in infos.items()),
            adapters={**(own.provenance.adapters if own else {}), **known},
            prompt_format=here.form.name,
            label_tokens=labels or (-1, -1),
        ),
        invocations={
            **(own.invocations if own else {}),
            **{name: tokens for fetch_info in infos.values() for name, tokens in fetch_info.invocations.items()},
        },
        scales=own.scales if own else {},
        prefix_adapters={**(own.prefix_adapters if own else {}), **dict.fromkeys(known, SERVED)},
        form=here.form,
        tokenizer=here.tokenizer,
        max_prompt=min([own.max_prompt if own else config.model.n_ctx, *longest]),
        max_tokens=own.max_tokens if own else _PLENTY,
        max_nodes=own.max_nodes if own else _PLENTY,
        # A pace is that of this process; what servers take does not go by it.
        costs=replace(
            costs, per_request_ms=costs.per_request_ms / slowdown, per_question_ms=costs.per_question_ms / slowdown
        ),
        slowdown=slowdown,
        n_threads=own.n_threads if own else 0,
        sizes=replace(
            own.sizes if own else CallSizes(),
            n_served=_PER_SLOT * max(server.setup.config.in_flight for server in servers.values()),
            together=frozenset(name for name, entry in config.served.items() if servers[entry.server].api.is_together),
            shared={name: servers[entry.server].api.n_shared for name, entry in config.served.items()},
        ),
    )
