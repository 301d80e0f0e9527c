"""Measures how llama.cpp runs a model fastest on this machine, and what its parts cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, TypeVar

from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.timing import ITEM, TrieBatch, cells
from cascade.backends.llama.tuned_settings import LEAST_ROUNDS, Shapes, Tuning, TuningKey, clearly_best
from cascade.config.schema import ModelConfig
from cascade.machine import n_cores, processor_name
from cascade.models.model_set import ModelSet

Tell = Callable[[str, float], None]
"""Told what is being measured, and the share of the time that has gone."""

_T = TypeVar("_T")

_FEW, _MANY = 8, 48  # items of a batch
_QUESTIONS = 24
_SAMPLE_S = 0.5  # about what one timing shall take
_MAX_ROUNDS = 7
_SEQUENCES = 128  # the default of n_seq_max: the size of the output buffer follows it
_BATCHES = (128, 256, 1024, 2048)
_SCATTERED = 2.0  # cells in the holes that others left cost about twice as much as those of the tidy batch here
_SETTINGS_UNTIL, _POOL_UNTIL = 0.65, 0.75  # shares of the time; the rest is for the costs


def tuning_key(model: ModelConfig, model_sha256: str) -> TuningKey:
    """What a tuning of this model holds for on this machine."""
    return TuningKey(
        model_sha256=model_sha256,
        llama_cpp=version("llama-cpp-python"),
        processor=processor_name(),
        n_cores=n_cores(),
        n_gpu_layers=model.n_gpu_layers,
    )


def tune(models: ModelSet, model: ModelConfig, seconds: float, tell: Tell) -> Tuning:
    """Measure a model for about so many seconds, loading it aside.

    The settings are tried one after the other, each beginning from the best so far; what a config
    sets itself is tried too, as the tuning belongs to the model and not to the config.

    Args:
        models: The model and its adapters; the first adapter is swapped to see what that costs.
        model: Where ``n_ctx`` and ``n_gpu_layers`` come from.
        seconds: How long to measure; settings for which that is too short stay at their defaults.
        tell: Told of the progress.

    Raises:
        ModelFileError: llama.cpp refused a file.
        DecodeError: llama.cpp failed a decode.
    """
    size = _defaults(model)
    native = NativeModel(models.model_path, size)
    try:
        return _Tuner(native, models, seconds, tell).tune(model.n_ctx)
    finally:
        native.close()


def _defaults(model: ModelConfig) -> ContextSize:
    fields = ModelConfig.model_fields
    return ContextSize(
        n_ctx=cells(_MANY),
        n_seq_max=_SEQUENCES,
        n_batch=fields["n_batch"].default,
        n_threads=fields["n_threads"].default,
        n_gpu_layers=model.n_gpu_layers,
        flash_attention=fields["flash_attention"].default,
    )


class _Tuner:
    def __init__(self, native: NativeModel, models: ModelSet, seconds: float, tell: Tell) -> None:
        self._native = native
        self._models = models
        self._seconds = seconds
        self._tell = tell
        self._started = time.perf_counter()
        self._batch = TrieBatch(native, _FEW)
        self._n_items = _FEW

    def tune(self, n_ctx: int) -> Tuning:
        """All of it."""
        default = self._native.size
        self._fit()
        size = default
        choices = [choice for choice in self._choices(default) if choice[1]]
        for at, (name, values) in enumerate(choices, 1):
            sizes = [size, *(replace(size, **{name: value}) for value in values)]
            size = self._best(name, sizes, _SETTINGS_UNTIL * at / (len(choices) + 1))
        gain = 1.0
        if size != default:
            size, gain = self._confirmed(default, size)
        full_pool = self._full_pool(replace(size, n_ctx=max(n_ctx, size.n_ctx)))
        costs = self._shapes(size).costs()
        per_cell_ms = max(full_pool - 1, 0.0) * costs.per_token_ms / max(n_ctx, size.n_ctx)
        return Tuning(
            flash_attention=size.flash_attention if size.flash_attention != default.flash_attention else None,
            n_batch=size.n_batch if size.n_batch != default.n_batch else None,
            n_threads=size.n_threads if size.n_threads != default.n_threads else None,
            gain=gain,
            full_pool=full_pool,
            costs=replace(costs, per_cell_ms=_SCATTERED * per_cell_ms),
        )

    def _fit(self) -> None:
        """As many items as a timing of about ``_SAMPLE_S`` allows."""
        self._tell("batch", 0.0)
        self._batch.start()
        first = min(self._batch.run(self._native.n_batch) for _ in range(2))
        self._n_items = max(_FEW, min(_MANY, round(_FEW * _SAMPLE_S / first)))
        self._batch = TrieBatch(self._native, self._n_items)

    def _choices(self, default: ContextSize) -> Iterator[tuple[str, Sequence[Any]]]:
        """Settings and what to try besides the default; what a batch is too small to show is left out."""
        n_tokens = self._n_items * ITEM
        cores = n_cores()
        yield "n_threads", sorted({count for count in (cores * 3 // 4, cores // 2) if count}, reverse=True)
        yield "flash_attention", (not default.flash_attention,)
        yield "n_batch", [value for value in _BATCHES if value < max(n_tokens, default.n_batch)]

    def _best(self, name: str, sizes: Sequence[ContextSize], until: float) -> ContextSize:
        if self._elapsed() > _SETTINGS_UNTIL * self._seconds:
            return sizes[0]
        return clearly_best(self._rounds(name, {size: partial(self._sample, size) for size in sizes}, until))

    def _confirmed(self, default: ContextSize, size: ContextSize) -> tuple[ContextSize, float]:
        """All settings together against the defaults, with the gain; the defaults if it does not show again."""
        both = {choice: partial(self._sample, choice) for choice in (default, size)}
        seconds = self._rounds("all settings", both, _SETTINGS_UNTIL)
        best = clearly_best(seconds)
        ratios = [slow / fast for slow, fast in zip(seconds[default], seconds[size], strict=True)]
        return (size, median(ratios)) if best == size else (default, 1.0)

    def _sample(self, size: ContextSize) -> float:
        self._open(size)
        return self._batch.run(self._native.n_batch)

    def _open(self, size: ContextSize) -> None:
        if self._native.size != size:
            self._native.reopen(size)
            self._batch.start()

    def _full_pool(self, size: ContextSize) -> float:
        """A decode in a full cache over the same in an empty one."""

        def in_full() -> float:
            self._batch.start()
            self._batch.fill(cells(self._n_items))
            return self._batch.run(self._native.n_batch)

        def in_empty() -> float:
            self._batch.start()
            return self._batch.run(self._native.n_batch)

        self._native.reopen(size)
        seconds = self._rounds("full cache", {"empty": in_empty, "full": in_full}, _POOL_UNTIL)
        return median(full / empty for empty, full in zip(seconds["empty"], seconds["full"], strict=True))

    def _shapes(self, size: ContextSize) -> Shapes:
        native = self._native
        native.reopen(size)
        items, questions = TrieBatch(native, _FEW), TrieBatch(native, _QUESTIONS)
        items.start()  # the prefix is the same in both
        n = native.n_batch
        measures: dict[str, Callable[[], float]] = {
            "whole": lambda: items.items(n),
            "split": lambda: items.items(n, alone=True),
            "silent": lambda: questions.questions(n, _nothing, is_output=False),
            "asked": lambda: questions.questions(n, _nothing),
        }
        adapter = next(iter(self._models.adapters.values()), None)
        if adapter is not None:
            native.load_adapter(adapter.name, adapter.path, adapter.scale)
            measures["kept"] = partial(self._asked, questions, adapter.name, is_swapped=False)
            measures["swapped"] = partial(self._asked, questions, adapter.name, is_swapped=True)
        ms = {name: 1_000 * median(times) for name, times in self._rounds("costs", measures, 1.0).items()}
        return Shapes(
            n_items=_FEW,
            n_tokens=ITEM,
            n_questions=_QUESTIONS,
            whole_ms=ms["whole"],
            split_ms=ms["split"],
            silent_ms=ms["silent"],
            asked_ms=ms["asked"],
            kept_ms=ms.get("kept", 0.0),
            swapped_ms=ms.get("swapped", 0.0),
        )

    def _asked(self, questions: TrieBatch, adapter: str, *, is_swapped: bool) -> float:
        """Questions under an adapter that was active just before, or was attached anew."""
        native = self._native
        native.activate(adapter)
        questions.questions(native.n_batch, _nothing)

        def swap() -> None:
            native.activate("")
            native.activate(adapter)

        seconds = questions.questions(native.n_batch, swap if is_swapped else _nothing)
        native.activate("")
        return seconds

    def _rounds(self, name: str, measures: Mapping[_T, Callable[[], float]], until: float) -> dict[_T, list[float]]:
        """Times of each measure, in turns and back again, until a share of the time has gone.

        ``LEAST_ROUNDS`` are always finished: fewer would say nothing.
        """
        found: dict[_T, list[float]] = {key: [] for key in measures}
        took = 0.0
        for at in range(_MAX_ROUNDS):
            self._tell(name, min(1.0, self._elapsed() / self._seconds))
            if at >= LEAST_ROUNDS and self._elapsed() + took > until * self._seconds:
                break
            begun = self._elapsed()
            for key in list(measures)[:: 1 if at % 2 else -1]:
                found[key].append(measures[key]())
            took = self._elapsed() - begun
        return found

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started


def _nothing() -> None:
    """What comes before questions that follow others under the same adapter."""
