"""A cascade for ``ray.data.Dataset.map_batches``: the engine is opened once an actor, and rows get columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.arguments import text
from cascade.batch.answers import answered
from cascade.batch.reading import columns_asked, without_nulls
from cascade.batch.results import column_values, result_columns
from cascade.batch.rows import Fault, Row, rows_of
from cascade.engine.engine import Engine
from cascade.errors import InputError
from cascade.ray.share import ConfigLike, assigned_cpus, config_here, on_share, resources
from cascade.report import Decision

if TYPE_CHECKING:
    import pyarrow as pa


class CascadePredictor:
    """Labels the rows of batches; one row is one item with its task.

    A batch has the columns ``task``, ``id`` and ``name``, and may have those of other fields of an item, and any
    others. It comes back with all its columns and rows as they were, and these besides: ``label``, ``status``,
    ``p_label``, ``p_STAGE`` of each stage (of a choice or score ``choice_STAGE`` or ``score_STAGE``, and
    ``confidence_STAGE``),
    ``n_calls``, ``error_kind`` and ``error``. A row that cannot be answered has the status "error", no label, and says
    why; the others are answered.

    Args:
        config: A config, its tables as a dict, or the path of a config file that every node has; None for the shipped
            one. Files that it names are on every node under the same paths. It keeps no log. Where the config leaves
            the number of threads open, the actor computes with the CPUs that Ray keeps for it.
        cascade: Name of the cascade.
        depth: Most stages that an item passes; None for no limit.
        prefix: Stands before the names of the new columns.

    Raises:
        CascadeError: As ``Engine.open``; or there is no such cascade.

    Examples:
        >>> from cascade.ray import CascadePredictor
        >>> CascadePredictor.arguments({"extends": "shipped", "model": {"n_threads": 4}})["num_cpus"]
        4.0
    """

    def __init__(
        self, config: ConfigLike = None, cascade: str = "precision", *, depth: int | None = None, prefix: str = ""
    ) -> None:
        self._prefix, self._depth = text("prefix", prefix), depth
        self._engine = Engine.open(on_share(config_here(config), assigned_cpus()), log=None)
        try:
            self._cascade = self._engine.cascade(cascade)
        except InputError:
            self._engine.close()
            raise

    @staticmethod
    def arguments(
        config: ConfigLike = None, cascade: str = "precision", *, depth: int | None = None, prefix: str = ""
    ) -> dict[str, Any]:
        """What ``map_batches`` needs besides the class and how many actors there are.

        Args:
            config: As for the class, and so are the others.
            cascade: Name of the cascade.
            depth: Most stages that an item passes.
            prefix: Stands before the names of the new columns.

        Returns:
            The arguments of the class; whole blocks as batches, so that those of ``by_task`` have whole tasks;
            ``num_cpus`` and ``num_gpus`` as the config asks for them: the threads of the model with most, 1 where it
            leaves them open, and a GPU where a model has layers on one.

        Raises:
            ConfigError: The config does not hold together.
        """
        return {
            "fn_constructor_args": (config, cascade),
            "fn_constructor_kwargs": {"depth": depth, "prefix": prefix},
            "batch_format": "pyarrow",
            "batch_size": None,
            **resources(config_here(config)),
        }

    def __call__(self, batch: Any) -> pa.Table:
        """The batch with the new columns, in whatever format it comes.

        Raises:
            InputError: A column is missing, or there is one of a new column's name.
            ClosedError: The engine has failed for good.
        """
        import pyarrow as pa  # noqa: PLC0415 - the extra `ray` may be absent

        table = _table(batch)
        types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
        columns = {f"{self._prefix}{name}": types[kind] for name, kind in result_columns(self._cascade).items()}
        _check_columns(table.column_names, columns)
        found = self._found(_rows(table))
        values = [column_values(each, self._cascade) for each in found]
        for place, (name, kind) in enumerate(columns.items()):
            plain = list(result_columns(self._cascade))[place]
            table = table.append_column(name, pa.array([each[plain] for each in values], kind))
        return table

    def close(self) -> None:
        """Free the model. An actor's process ends without it."""
        self._engine.close()

    def _found(self, rows: Sequence[Row]) -> list[Decision | Fault]:
        """What each row got, in their order; they are asked by task."""
        by_task = sorted(rows, key=lambda row: row.task.text if row.task else "")
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            places[row.digest].append(place)
        found: dict[int, Decision | Fault] = {}
        for some in answered(self._engine, ([row] for row in by_task), self._cascade.name, depth=self._depth):
            for row, got in some:
                found[places[row.digest].pop()] = got
        return [found[place] for place in range(len(rows))]


def _table(batch: Any) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 - as above

    if isinstance(batch, pa.Table):
        return batch
    if isinstance(batch, Mapping):
        return pa.table({name: pa.array(list(values)) for name, values in batch.items()})
    return pa.Table.from_pandas(batch, preserve_index=False)


def _check_columns(names: Sequence[str], new: Mapping[str, object]) -> None:
    if "items" in names:
        msg = "A batch has a column 'items', a row for each task. Give a row for each item, such as by `flat_map`."
        raise InputError(msg)
    twice = [name for name in names if name in new]
    if twice:
        msg = f"There is a column {twice[0]!r} already. Give a `prefix` for the new columns, or drop that one."
        raise InputError(msg)


def _rows(table: pa.Table) -> list[Row]:
    asked = table.select(columns_asked(table.column_names, "A batch")).to_pylist()
    return [row for value in asked for row in rows_of(without_nulls(value), "this row")]
