"""Other adapters and cascades in an engine that works: they are loaded, checked and made live at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from cascade.backends.base import Backend
from cascade.backends.swapping import Prepared, SwappingBackend, swapping
from cascade.budget import Budget
from cascade.config.lock import check_locks
from cascade.config.schema import AdapterConfig, Config
from cascade.engine.generation import Generation, Generations
from cascade.engine.info import EngineInfo
from cascade.engine.loop import Loop
from cascade.engine.request import Request
from cascade.engine.shadow import Shadow
from cascade.errors import ClosedError, ConfigError, InputError
from cascade.prompt import Limits
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What new requests are asked with since a change.

    Attributes:
        adapters: Each adapter that has another file or scale than before, or is new -> SHA-256 of its file.
        cascades: Names of the cascades that are not what they were, thresholds included.
    """

    adapters: Mapping[str, str]
    cascades: tuple[str, ...]

    @property
    def is_change(self) -> bool:
        """Whether anything is other than before."""
        return bool(self.adapters or self.cascades)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where what an engine runs comes from.

    Attributes:
        config: Its config.
        is_whole: Whether its cascades are the config's own, so that their tuned thresholds are bound to its files.
    """

    config: Config
    is_whole: bool = True

    def check_same_models(self, now: Config) -> None:
        """Refuse a config that needs another engine.

        Raises:
            ConfigError: Says what differs.
        """
        then = self.config
        parts = {
            "base models": (then.base_models, now.base_models),
            "servers": (then.servers, now.servers),
            "adapters on servers": (then.served, now.served),
        }
        differs = [name for name, (before, after) in parts.items() if before != after]
        if differs:
            msg = f"The config has other {' and '.join(differs)} than this engine. Open a new engine with it."
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is to become live.

    Attributes:
        files: Name -> file of adapters in this process.
        cascades: Name -> cascade.
        budgets: Cascade -> budget of requests whose caller gives none.
        locked: Names of the cascades whose tuned thresholds are checked.
        origin: Where it comes from.
        kept: Adapters that stay as they are, whatever their files hold now.
        shadow: Name -> file of what is to answer beside them; None for what does so now.
    """

    files: Mapping[str, AdapterConfig]
    cascades: Mapping[str, Cascade]
    budgets: Mapping[str, Budget]
    locked: Collection[str]
    origin: Origin | None
    kept: frozenset[str] = frozenset()
    shadow: Mapping[str, AdapterConfig] | None = None

    def check(self, generation: Generation) -> None:
        """Refuse tuned thresholds that are not for the adapters that would answer.

        Raises:
            ConfigError: Names the cascade.
        """
        if self.origin is None:
            return
        for name in self.locked:
            cascade = generation.cascades[name]
            check_locks(self.origin.config, {name: cascade}, generation.info.provenance_of(cascade))


class Adopter:
    """Changes what new requests are asked with. Its methods wait, and may be called from any thread but the engine's.

    A request is asked under one generation from its start to its end, so requests that run keep their adapters. The
    new ones are loaded beside them between two batches, and the former are freed once the last such request has ended.
    Whatever goes wrong before all is loaded and checked leaves everything as it was.

    Args:
        backends: Model -> what scores its batches.
        limits: Model -> how long texts from outside may be in its prompts.
        loop: Makes changes between batches.
        first: What is live.
        origin: Where that comes from; None where it was made from parts.
        told: Is told what adapters in the shadow have answered; None where nobody is, and nothing answers there.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        limits: Mapping[str, Limits],
        loop: Loop,
        first: Generation,
        origin: Origin | None = None,
        told: Callable[[Request, Request], None] | None = None,
    ) -> None:
        self._backends, self._limits, self._loop = backends, limits, loop
        self.generations = Generations(first, self._tidy)
        self._origin = origin
        self.shadow = Shadow(loop, told)
        self._has_log = told is not None
        self._beside: dict[str, str] = {}  # adapter -> key of what answers beside it
        self._others: list[Generations] = []  # what is asked beside that which is live
        self._one_at_a_time = threading.Lock()
        # Below: key -> (model, name) of what is loaded, and keys that no generation has yet; the loop's thread's alone.
        self._loaded = {key: (first.info.model_of(name), name) for name, key in first.keys.items()}
        self._pending: set[str] = set()
        self._used, self._n_versions = set(self._loaded), 1

    @property
    def config(self) -> Config | None:
        """What is live comes from it; None for an engine of parts."""
        return None if self._origin is None else self._origin.config

    def adopt(self, config: Config) -> Adoption:
        """Take over a config; see ``Engine.adopt``."""
        with self._one_at_a_time:
            return self._make_live(self._wanted(config, config.shadows() if self._has_log else {}))

    def beside(self, config: Config) -> Generations:
        """Load what a config says, to be asked beside what is live until it is ended; see ``Engine.beside``."""
        with self._one_at_a_time:
            wanted, live = self._wanted(config), self.generations.live
            try:
                generation = self._made(live, wanted, self._prepared(live, wanted.files))
                wanted.check(generation)
                found = Generations(generation, self._tidy)
                self._others.append(found)
            finally:
                self._let_go()
            return found

    def _wanted(self, config: Config, shadow: Mapping[str, AdapterConfig] | None = None) -> _Wanted:
        """All that a config says, checked as far as it can be before files are read."""
        if self._origin is None:
            msg = "This engine was made from parts, and has no config. Use swap_adapter, or open one from a config."
            raise InputError(msg)
        self._origin.check_same_models(config)
        cascades = config.cascades()
        for cascade in cascades.values():
            cascade.check_is_tuned()
        return _Wanted(
            files=config.files,
            cascades=cascades,
            budgets={name: entry.budget() for name, entry in config.cascade.items()},
            locked=cascades,
            origin=Origin(config=config),
            shadow=shadow,
        )

    def swap(self, name: str, entry: AdapterConfig, cascades: Mapping[str, Cascade]) -> Adoption:
        """Take another file for an adapter, with cascades in place of those of the same names.

        See ``Engine.swap_adapter``.
        """
        with self._one_at_a_time:
            live, origin = self.generations.live, self._origin
            if name not in live.keys:
                what, remedy = (
                    f"There is no adapter {name!r} in this process",
                    f"it has {', '.join(live.keys) or 'none'}",
                )
                if name in live.info.adapters:
                    what = f"Adapter {name!r} is on a server, which loads adapters itself"
                    remedy = "load it there under a name of its own, and open an engine whose config gives that name"
                msg = f"{what}; {remedy}."
                raise InputError(msg)
            if origin is not None:
                adapters = {**origin.config.adapters, name: entry}
                origin = replace(origin, config=origin.config.model_copy(update={"adapters": adapters}))
            return self._make_live(
                _Wanted(
                    files={name: entry},
                    cascades={**live.cascades, **cascades},
                    budgets=live.budgets,
                    locked=live.cascades.keys() - cascades.keys() if origin is not None and origin.is_whole else (),
                    origin=origin,
                    kept=frozenset(live.keys) - {name},
                )
            )

    def _make_live(self, wanted: _Wanted) -> Adoption:
        live = self.generations.live
        prepared, beside = self._prepared(live, wanted.files), self._prepared(live, wanted.shadow or {})
        if any(self._key(*each, name) is None for name, each in (*prepared.items(), *beside.items())):
            # Of an adapter there are never more versions in memory than the live one and one besides.
            self.generations.wait(lambda: not self._loop.is_open)
        try:
            generation = self._made(live, wanted, prepared)
            wanted.check(generation)
            keys = self._beside if wanted.shadow is None else self._held(beside)
            shadow = self._generation(live, wanted.cascades, {}, {**generation.keys, **keys}) if keys else None
        except BaseException:
            self._let_go()
            raise
        self._beside, self._origin = keys, wanted.origin
        if shadow is not None or self.shadow.generation is not None:
            self._loop.change(partial(self._change_shadow, shadow, frozenset(keys))).result()
        self.generations.publish(generation)
        self._let_go()
        return _difference(live, generation)

    def _prepared(self, live: Generation, files: Mapping[str, AdapterConfig]) -> dict[str, tuple[str, Prepared]]:
        """Adapter -> its model, and its file as it was checked."""
        found = {}
        for name, entry in files.items():
            model = self._model_of(live, name, entry)
            found[name] = model, swapping(self._backends[model]).prepare(name, entry.path, entry.scale)
        return found

    async def _change_shadow(self, generation: Generation | None, names: frozenset[str]) -> None:
        self.shadow.change(generation, names)

    def _held(self, prepared: Mapping[str, tuple[str, Prepared]]) -> dict[str, str]:
        """Name -> key of each, all of them loaded."""
        return {
            name: self._loop.change(partial(self._hold, model, each, name)).result()
            for name, (model, each) in prepared.items()
        }

    def _made(self, live: Generation, wanted: _Wanted, prepared: Mapping[str, tuple[str, Prepared]]) -> Generation:
        """What is to be live, with all that it needs loaded, and checked."""
        keys = {name: live.keys[name] for name in wanted.kept} | self._held(prepared)
        return self._generation(live, wanted.cascades, wanted.budgets, keys)

    def _generation(
        self, live: Generation, cascades: Mapping[str, Cascade], budgets: Mapping[str, Budget], keys: Mapping[str, str]
    ) -> Generation:
        """Cascades with the adapters of these keys, checked."""
        served = {name: name for name in live.info.adapters - live.keys.keys()}
        backends = {name: backend.info.under({**keys, **served}) for name, backend in self._backends.items()}
        generation = Generation(
            info=EngineInfo(backends=backends, limits=self._limits),
            cascades=dict(cascades),
            budgets=dict(budgets),
            keys=dict(keys),
            before=live,
        )
        self._check_markers(generation)
        return generation

    def _check_markers(self, generation: Generation) -> None:
        for backend in self._backends.values():
            if isinstance(backend, SwappingBackend):
                for cascade in generation.cascades.values():
                    backend.check_markers(cascade, generation.keys)

    @staticmethod
    def _model_of(live: Generation, name: str, entry: AdapterConfig) -> str:
        """The base model that an adapter belongs to."""
        backends = live.info.backends
        if len(backends) == 1:
            return next(iter(backends))
        if entry.model is None and name not in live.info.models:
            msg = f'adapters.{name}: it is new, and the engine has {", ".join(backends)}. Say which: model = "NAME".'
            raise ConfigError(msg)
        return entry.model or live.info.models[name]

    def _key(self, model: str, prepared: Prepared, name: str) -> str | None:
        """The key under which a file is loaded already; None if it is not."""
        info = self._backends[model].info
        for key, place in tuple(self._loaded.items()):
            is_it = place == (model, name) and info.provenance.adapters.get(key) == prepared.sha256
            if is_it and info.scales.get(key, 1.0) == prepared.scale:
                return key
        return None

    async def _hold(self, model: str, prepared: Prepared, name: str) -> str:
        """The key of an adapter that is loaded and stays so."""
        key = self._key(model, prepared, name)
        if key is None:
            key = self._new_key(name)
            self._used.add(key)
            await prepared.load(key)
            self._loaded[key] = model, name
            self._loop.refit(model)
        self._pending.add(key)
        return key

    def _new_key(self, name: str) -> str:
        """A key that nothing is or was loaded under, so that nothing of one version can pass for another's."""
        taken = {key for backend in self._backends.values() for key in backend.info.prefix_adapters}
        key = name
        while key in taken | self._used:
            self._n_versions += 1
            key = f"{name}@{self._n_versions}"
        return key

    def _let_go(self) -> None:
        """Nothing is on its way to become live any more."""
        with suppress(ClosedError):
            self._loop.change(self._forget_pending)

    async def _forget_pending(self) -> None:
        self._pending.clear()
        await self._unload()

    def _tidy(self) -> None:
        """Free soon what no request asks any more."""
        with suppress(ClosedError):
            self._loop.change(self._unload)

    async def _unload(self) -> None:
        beside = self.shadow.generation
        held = self.generations.keys | self._pending | set(beside.keys.values() if beside is not None else ())
        for other in tuple(self._others):
            held |= other.keys
            if other.is_over and not other.keys:
                self._others.remove(other)
        for key, (model, _) in [each for each in self._loaded.items() if each[0] not in held]:
            del self._loaded[key]
            await swapping(self._backends[model]).unload(key)
            self._loop.refit(model)


def _difference(before: Generation, now: Generation) -> Adoption:
    known = now.info.provenance.adapters
    return Adoption(
        adapters={name: known[name] for name, key in now.keys.items() if before.keys.get(name) != key},
        cascades=tuple(name for name, cascade in now.cascades.items() if before.cascades.get(name) != cascade),
    )
