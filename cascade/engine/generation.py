"""What new requests are asked with: cascades and the adapters behind them, which change together or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field

from cascade.arguments import text
from cascade.budget import Budget
from cascade.engine.info import EngineInfo
from cascade.engine.online_profile import OnlineProfile
from cascade.errors import ClosedError, InputError, unknown_cascade
from cascade.tree import Cascade

_LOOK_S = 0.02  # between two looks at requests that nobody ends, since their callers have gone


def cascade_of(cascades: Mapping[str, Cascade], name: str) -> Cascade:
    """The cascade of that name.

    Raises:
        InputError: There is none.
    """
    if text("cascade", name) not in cascades:
        raise InputError(unknown_cascade(name, cascades))
    return cascades[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Generation:
    """Cascades with the adapters that answer them. A request is asked under one generation from its start to its end.

    Attributes:
        info: Base models, their adapters and prompt formats, by the names that cascades use.
        cascades: Name -> cascade.
        budgets: Cascade -> budget of requests whose caller gives none.
        keys: Adapter -> the key under which the backend has it; all adapters in this process.
        expected: Cascade -> what is expected of its items.
        open: A token for each request that is open under it.
        before: The one before it, whose expectations of what has not changed it goes on with.

    Raises:
        ConfigError: A cascade does not fit the adapters.
    """

    info: EngineInfo
    cascades: Mapping[str, Cascade]
    budgets: Mapping[str, Budget]
    keys: Mapping[str, str]
    expected: Mapping[str, OnlineProfile] = field(init=False)
    open: set[object] = field(default_factory=set)
    before: InitVar[Generation | None] = None

    def __post_init__(self, before: Generation | None) -> None:
        for cascade in self.cascades.values():
            self.info.check(cascade)
        same = before.expected if before is not None else {}
        expected = {
            name: same[name] if before is not None and self._is_as(before, name) else self.profile(cascade)
            for name, cascade in self.cascades.items()
        }
        object.__setattr__(self, "expected", expected)

    def _is_as(self, before: Generation, name: str) -> bool:
        """Whether a cascade is answered as it was."""
        cascade = self.cascades[name]
        keys = [[each.keys.get(adapter) for adapter in cascade.adapters()] for each in (self, before)]
        return before.cascades.get(name) == cascade and keys[0] == keys[1]

    def cascade(self, name: str) -> Cascade:
        """The cascade of that name.

        Raises:
            InputError: There is none.
        """
        return cascade_of(self.cascades, name)

    def profile(self, cascade: Cascade) -> OnlineProfile:
        """What is expected of a cascade, of which nothing is known but its profile."""
        moved = {name: key for name, key in self.keys.items() if key != name}
        return OnlineProfile(cascade, self.info.models, moved)


class Generations:
    """The generation that is live, and those before it under which requests are still open. For any thread.

    Args:
        first: The first one.
        retired: Called each time that the last request under a former one has ended; must not wait.
    """

    def __init__(self, first: Generation, retired: Callable[[], None]) -> None:
        self._live = first
        self._former: list[Generation] = []
        self._gate = threading.Lock()
        self._ended = threading.Event()
        self._retired = retired
        self._is_over = False

    @property
    def live(self) -> Generation:
        """The one that new requests are asked under."""
        return self._live

    def enter(self) -> tuple[Generation, object]:
        """The live one, and a token that keeps its adapters until ``leave``.

        Raises:
            ClosedError: ``end`` was called.
        """
        token = object()
        with self._gate:
            if self._is_over:
                msg = "These adapters and cascades were closed. Ask the engine beside which they stood, or open others."
                raise ClosedError(msg)
            self._live.open.add(token)
            return self._live, token

    def leave(self, generation: Generation, token: object) -> None:
        """Let go of a generation; a second call does nothing."""
        generation.open.discard(token)
        if not generation.open and (generation is not self._live or self._is_over):
            self._ended.set()
            self._retired()

    def publish(self, generation: Generation) -> None:
        """Make a generation the live one for all requests that are made from now on."""
        with self._gate:
            self._former.append(self._live)
            self._live = generation
        self._retired()

    def end(self) -> None:
        """Take no more requests; those that are open go on. A second call does nothing."""
        with self._gate:
            if not self._is_over:
                self._is_over = True
                self._former.append(self._live)
        self._retired()

    def wait(self, is_over: Callable[[], bool]) -> None:
        """Wait until the last request under every former generation has ended, or there is nothing to wait for."""
        while self._held() and not is_over():
            self._ended.wait(_LOOK_S)
            self._ended.clear()

    @property
    def keys(self) -> set[str]:
        """Keys of all adapters that a request may still ask."""
        live = () if self._is_over else (self._live,)
        return {key for each in (*live, *self._held()) for key in each.keys.values()}

    @property
    def is_over(self) -> bool:
        """Whether ``end`` was called."""
        return self._is_over

    def _held(self) -> list[Generation]:
        with self._gate:
            self._former = [each for each in self._former if each.open]
            return list(self._former)
