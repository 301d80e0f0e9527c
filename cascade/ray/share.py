"""What an actor gets of its node, and the config as it then runs there."""

from __future__ import annotations

from typing import Any

from cascade.config.model import ModelConfig
from cascade.config.schema import Config, shipped_config
from cascade.engine.settings import ConfigLike, given_config
from cascade.errors import MachineError
from cascade.machine import install_extra, n_cores


def check_ray() -> None:
    """Refuse to go on without Ray.

    Raises:
        MachineError: It, or a package that it needs, is not installed.
    """
    try:
        import ray.data  # noqa: F401, PLC0415 - the extra `ray` may be absent
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('ray')}` on every node."
        raise MachineError(msg) from error


def config_here(config: ConfigLike | None) -> Config:
    """A config as this process has it.

    Args:
        config: The path of a file must be there on each node; None for the shipped config.

    Raises:
        InputError: It is none.
        ConfigError: It cannot be read, or does not fit.
    """
    return given_config(shipped_config() if config is None else config)


def resources(config: Config) -> dict[str, float]:
    """What an actor, or a replica, takes of its node.

    Returns:
        ``num_cpus``: the threads of the model that has most, and 1 for one that takes all that there are.
        ``num_gpus``: 1 where a model has layers on a GPU, and otherwise 0.
    """
    here = [model for model in config.base_models.values() if model.has_source]
    return {
        "num_cpus": float(max((model.n_threads for model in here), default=0) or 1),
        "num_gpus": float(any(model.n_gpu_layers for model in here)),
    }


def on_share(config: Config, n_cpus: float) -> Config:
    """A config whose models compute on what they were given, where it does not say how many threads they have.

    Args:
        config: The config.
        n_cpus: CPUs that Ray keeps for the process; where there are none of its own, one thread computes.
    """
    threads = {"n_threads": max(int(n_cpus), 1)}

    def shared(model: ModelConfig) -> ModelConfig:
        return model if model.n_threads else model.model_copy(update=threads)

    parts: dict[str, Any] = {"models": {name: shared(model) for name, model in config.models.items()}}
    if "model" in config.model_fields_set:
        parts["model"] = shared(config.model)
    return config.model_copy(update=parts)


def assigned_cpus() -> float:
    """CPUs that Ray keeps for the actor that calls; all that there are for who is no actor."""
    import ray  # noqa: PLC0415 - the extra `ray` may be absent

    context = ray.get_runtime_context() if ray.is_initialized() else None
    if context is None or context.get_actor_id() is None:
        return n_cores()
    return float(context.get_assigned_resources().get("CPU", 0))
