"""A cascade for ``ray.data.Dataset.map_batches``: the engine is opened once an actor, and rows get columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade.engine.engine import Engine
from cascade.engine.settings import ConfigLike
from cascade.errors import InputError
from cascade.ray.share import assigned_cpus, config_here, on_share, resources


class CascadePredictor:
    """Labels the rows of batches; one row is one item with its task.

    A batch is a frame as ``Engine.run`` takes it, or Ray's dict of arrays. It comes back with its columns and rows as
    they were and with the columns that ``Engine.run`` adds. A row that cannot be answered has the status "error" and
    says why; the others are answered.

    Args:
        config: A config, its tables as a dict, or the path of a config file that every node has; None for the shipped
            one. Files that it names are on every node under the same paths. It keeps no log. Where the config leaves
            the number of threads open, the actor computes with the CPUs that Ray keeps for it.
        cascade: Name of the cascade.
        by: The column with the text of each row's task.
        depth: Most stages that a row passes; None for no limit.
        prefix: What the names of the added columns begin with.

    Raises:
        CascadeError: As ``Engine.open``; or there is no such cascade.

    Examples:
        >>> from cascade.ray import CascadePredictor
        >>> CascadePredictor.arguments({"extends": "shipped", "model": {"n_threads": 4}})["num_cpus"]
        4.0
    """

    def __init__(
        self,
        config: ConfigLike | None = None,
        cascade: str = "precision",
        *,
        by: str = "task",
        depth: int | None = None,
        prefix: str = "",
    ) -> None:
        self._options: dict[str, Any] = {"by": by, "depth": depth, "prefix": prefix}
        self._cascade = cascade
        self._engine = Engine.open(on_share(config_here(config), assigned_cpus()), log=None)
        try:
            self._engine.cascade(cascade)
        except InputError:
            self.close()
            raise

    @staticmethod
    def arguments(config: ConfigLike | None = None, cascade: str = "precision", **options: Any) -> dict[str, Any]:
        """What ``map_batches`` needs besides the class and how many actors there are.

        Args:
            config: As for the class.
            cascade: Name of the cascade.
            options: The other arguments of the class.

        Returns:
            The arguments of the class; whole blocks as batches, so that those of ``by_task`` have whole tasks;
            ``num_cpus`` and ``num_gpus`` as the config asks for them: the threads of the model with most, 1 where it
            leaves them open, and a GPU where a model has layers on one.

        Raises:
            ConfigError: The config does not hold together.
        """
        return {
            "fn_constructor_args": (config, cascade),
            "fn_constructor_kwargs": options,
            "batch_format": "pyarrow",
            "batch_size": None,
            **resources(config_here(config)),
        }

    def __call__(self, batch: Any) -> Any:
        """The batch with columns added.

        Raises:
            InputError: As ``Engine.run``.
            ClosedError: The engine has failed for good.
        """
        return self._engine.run(_frame(batch), self._cascade, **self._options)

    def close(self) -> None:
        """Free the model. An actor's process ends without it."""
        self._engine.close()


def _frame(batch: Any) -> Any:
    """A batch as a frame; Ray's own kind, a dict of arrays, becomes a table."""
    if not isinstance(batch, Mapping):
        return batch
    import pyarrow as pa  # noqa: PLC0415 - the extra `ray` may be absent

    return pa.table({name: pa.array(list(values)) for name, values in batch.items()})
