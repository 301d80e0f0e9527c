"""Cascades in Ray Serve: each replica has one base model, and several sets of adapters that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.arguments import is_name, one_of, refuse, whole
from cascade.budget import BudgetLike
from cascade.engine.engine import Engine
from cascade.engine.settings import ConfigLike
from cascade.errors import BackendError, InputError, MachineError
from cascade.items import Item, Task
from cascade.machine import install_extra
from cascade.ray.resident import Resident
from cascade.ray.share import assigned_cpus, check_ray, config_here, on_share, resources
from cascade.report import Report

if TYPE_CHECKING:
    from ray.serve import Application
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from cascade.service.settings import ServiceSettings

Models = Mapping[str, ConfigLike] | Path | str
"""Model id -> config, or the folder that has a file ID.toml for each."""

MOST_BESIDE = 3
"""Models that a replica has in memory at once, besides the config's own; that of ``serve.multiplexed``."""


def serve_app(
    config: ConfigLike | None = None,
    models: Models | None = None,
    *,
    max_models_per_replica: int = MOST_BESIDE,
    settings: ServiceSettings | None = None,
    **deployment: Any,
) -> Application:
    """The HTTP service as an application of Ray Serve, with adapters multiplexed.

    Each replica opens the config once. A request with a multiplexed model id is answered by the adapters, thresholds
    and cascades of that model's config, on the same base model; one without an id by the config itself. A model is
    loaded when it is first asked, beside those that are there, and the one that was not asked for longest leaves.
    What was computed under one adapter is never used under another.

    Args:
        config: The base model, and what answers without a model id.
        models: Model id -> its config, with the same base models and servers as ``config``; or a folder with a file
            ``ID.toml`` for each, which is read when the id is first asked, so that new ones need no new deployment.
        max_models_per_replica: Models that a replica has in memory at once.
        settings: Limits of requests, and the token; None for the defaults of ``cascade serve``.
        deployment: Options of ``serve.deployment``, such as ``num_replicas``. If ``ray_actor_options`` are not given,
            they are the threads and the GPU that the config asks for.

    Returns:
        What ``serve.run`` takes. Over HTTP a client names the model in the header ``serve_multiplexed_model_id``. From
        Python it asks ``handle.options(multiplexed_model_id="ID").classify.remote(task, items, cascade)``.

    Raises:
        ConfigError: ``config`` does not hold together.
        InputError: An argument is not allowed.
        MachineError: Ray Serve is not installed.
    """
    check_ray()
    try:
        from ray import serve  # noqa: PLC0415 - the extra `ray` may be absent

        import cascade.service.app  # noqa: F401, PLC0415 - the extra `serve` may be absent
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('ray')}` and `{install_extra('serve')}`."
        raise MachineError(msg) from error
    if whole(max_models_per_replica) is None:
        refuse("max_models_per_replica", max_models_per_replica, "a whole number from 1 on is needed")
    one_of("models", models, (Mapping, Path, str, type(None)), "a dict from id to config is needed, or a folder")

    class CascadeReplica(Replica):
        """A replica whose models Ray Serve loads, and lets go when there are too many."""

        @serve.multiplexed(max_num_models_per_replica=max_models_per_replica)  # type: ignore[untyped-decorator] # Ray's
        async def model(self, model_id: str) -> Resident:
            return await self.load(model_id)

    options = {"ray_actor_options": resources(config_here(config)), "max_ongoing_requests": 64, **deployment}
    bound: Application = serve.deployment(CascadeReplica, **options).bind(config, models or {}, settings)
    return bound


class Replica:
    """An engine with the HTTP service over it, and others beside it by model id.

    Args:
        config: The base model, and what answers without a model id.
        models: Where the configs of the others are.
        settings: Limits of requests; None for the defaults.
    """

    def __init__(self, config: ConfigLike | None, models: Models, settings: ServiceSettings | None = None) -> None:
        from cascade.service.metrics import Metrics  # noqa: PLC0415 - prometheus_client loads only where it is used
        from cascade.service.settings import ServiceSettings  # noqa: PLC0415 - as above

        self._models, self._settings = models, settings or ServiceSettings()
        self._metrics, self._n_cpus = Metrics(), assigned_cpus()
        engine = Engine.open(on_share(config_here(config), self._n_cpus), (self._metrics,))
        self._own = Resident(engine, self._app(engine))

    async def model(self, model_id: str) -> Resident:
        """The model of an id; Ray Serve keeps it."""
        return await self.load(model_id)

    async def load(self, model_id: str) -> Resident:
        """Load a model beside those that are there."""
        config = on_share(config_here(self._place(model_id)), self._n_cpus)
        engine = await asyncio.to_thread(self._own.engine.beside, config)
        return Resident(engine, self._app(engine))

    async def __call__(self, _: Request) -> Response:
        """Answer over HTTP."""
        from cascade.ray.through import Through, unknown_model  # noqa: PLC0415 - starlette loads only where it is used

        try:
            return Through(await self._asked())
        except InputError as error:
            return unknown_model(str(error))

    async def classify(
        self, task: Task | str, items: Sequence[Item], cascade: str = "precision", budget: BudgetLike = "config"
    ) -> Report:
        """Answer a handle; see ``Engine.classify``."""
        with await self._asked() as model:
            return await model.engine.aclassify(task, items, cascade, budget=budget)

    def check_health(self) -> None:
        """Let Ray Serve start another replica once the engine takes no more requests."""
        if not self._own.engine.is_open:
            msg = "The engine has failed."
            raise BackendError(msg)

    def _place(self, model_id: str) -> ConfigLike:
        """Where the config of a model is.

        Raises:
            InputError: There is no such model.
        """
        if isinstance(self._models, Mapping):
            if model_id in self._models:
                return self._models[model_id]
            known = f"there are {', '.join(self._models) or 'none'}"
        else:
            file = Path(self._models) / f"{model_id}.toml"
            if is_name(model_id) and file.name == f"{model_id}.toml" and file.is_file():
                return file
            known = f"{self._models} has no such file"
        msg = f"There is no model {model_id!r}; {known}."
        raise InputError(msg)

    def _app(self, engine: Engine) -> ASGIApp:
        from cascade.service.app import make_app  # noqa: PLC0415 - fastapi loads only where it is used

        return make_app(engine, self._metrics, self._settings)

    async def _asked(self) -> Resident:
        """The model that the request at hand names.

        Raises:
            InputError: There is no such model.
        """
        from ray import serve  # noqa: PLC0415 - loaded by whoever started the replica

        model_id = serve.get_multiplexed_model_id()
        if not model_id:
            return self._own
        self._place(model_id)  # before another has to leave for it
        return await self.model(model_id)
