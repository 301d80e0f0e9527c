"""Config files: TOML into pydantic models, frozen, unknown keys refused, then into the pure core."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from cascade.budget import Budget
from cascade.complaints import ONE, SERVED, TABLE
from cascade.errors import ConfigError
from cascade.files import is_file, name_of, reason
from cascade.outlook import Outlook
from cascade.outlook_file import OutlookConfig, read_outlook
from cascade.prior_stage import PriorStage
from cascade.prompt import Limits
from cascade.servers_config import ServedConfig, ServerConfig
from cascade.stage_config import PriorStageConfig, StageConfig, StageEntry, form
from cascade.thresholds_file import ThresholdsFile, read_thresholds
from cascade.toml_file import Frozen, read_model
from cascade.tree import Cascade

OutlookEntry = Annotated[Annotated[OutlookConfig, Tag(TABLE)] | Annotated[Path, Tag(ONE)], Discriminator(form)]


class EngineConfig(Frozen):
    """How many callers share one engine."""

    max_requests: int = Field(1_024, ge=1, description="Most requests that may be open at once; more are refused.")
    overload: Literal["shallower", "refuse"] = Field(
        "shallower",
        description="When budgets cannot be kept in full: all go less deep, or those that would be late are refused.",
    )
    price: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Points of macro F1 over all rows that 100 ms are worth."
    )
    mismatch: Literal["refuse", "warn"] = Field(
        "refuse",
        description="When tuned thresholds were made for another model, adapter or questions than those at hand.",
    )
    speculate: bool = Field(True, description="Ask ahead of the tree where the cost model says that it is faster.")


class CascadeConfig(Frozen):
    """A tree of stages; the first stage is asked first."""

    instructions: str = Field("Answer each question about the candidate.", description="Stands before the questions.")
    labels: tuple[str, ...] = Field(description="Every label that a stage leads to, in the order of reports.")
    dropped: str = Field("", description="Label of what does not matter; the first label if absent.")
    budget_ms: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Milliseconds a request may take where its caller does not say."
    )
    max_depth: int | None = Field(None, ge=1, description="Most stages that an item passes, likewise.")
    outlook: OutlookEntry | None = Field(
        None, description="What labelled data say of its items: a table, or the file that `cascade depth --out` wrote."
    )
    thresholds: (
        Annotated[Annotated[ThresholdsFile, Tag(TABLE)] | Annotated[Path, Tag(ONE)], Discriminator(form)] | None
    ) = Field(
        None, description="The file that `cascade tune --out` wrote; its thresholds win over those of the stages."
    )
    stages: tuple[StageEntry, ...] = Field(
        max_length=64, description='The first is asked first; one of kind "prior" may stand before it.'
    )

    def budget(self) -> Budget:
        """What a request may spend where its caller does not say."""
        return Budget(ms=self.budget_ms, depth=self.max_depth)

    def cascade(self, name: str) -> Cascade:
        """The pure form, checked."""
        stages = tuple(stage.stage(name) for stage in self.stages if isinstance(stage, StageConfig))
        prior_stage = self._prior_stage(name)
        if isinstance(self.thresholds, ThresholdsFile):
            stages = self.thresholds.put_on(name, stages, prior_stage)
            prior_stage = self.thresholds.put_on_prior(prior_stage)
        return Cascade(
            name=name,
            instructions=self.instructions,
            labels=self.labels,
            stages=stages,
            dropped=self.dropped,
            outlook=self.outlook.outlook() if isinstance(self.outlook, OutlookConfig) else Outlook(),
            prior_stage=prior_stage,
        )

    def _prior_stage(self, name: str) -> PriorStage | None:
        places = [place for place, stage in enumerate(self.stages) if isinstance(stage, PriorStageConfig)]
        if places not in ([], [0]):
            msg = (
                f'cascade.{name}.stages: one of kind "prior" stands at place {places[-1] + 1}. What it knows is known '
                "before anything is asked; let it stand first, and alone."
            )
            raise ConfigError(msg)
        first = self.stages[0] if places else None
        return first.stage() if isinstance(first, PriorStageConfig) else None


Tokens = Annotated[int, Field(ge=1, le=4096)]
_REMEDY = "Give the path of a TOML file."


class LimitsConfig(Frozen):
    """Most tokens of each text from outside; the rest is cut."""

    task: Tokens = Limits().task
    seed: Tokens = Limits().seed
    group: Tokens = Limits().group
    item: Tokens = Limits().item

    def limits(self) -> Limits:
        """The pure form."""
        return Limits(**self.model_dump())


class ModelConfig(Frozen):
    """The base model, from a path or from the Hugging Face hub, and how llama.cpp runs it."""

    path: Path | None = Field(
        None, description="A GGUF file; relative to the config file. Without one, servers answer everything."
    )
    repo_id: str | None = Field(None, description="Hub repository, such as Qwen/Qwen3-0.6B-GGUF.")
    filename: str | None = Field(None, description="File within the hub repository.")
    revision: str | None = Field(None, description="Commit of the hub repository; pin it.")
    format: str = Field("embedded", description="Prompt format: embedded, qwen3 or qwen3-reranker.")
    limits: LimitsConfig = LimitsConfig()
    n_ctx: int = Field(4096, ge=256, le=1_048_576, description="Cells of the KV cache.")
    n_seq_max: int = Field(128, ge=4, le=256, description="Sequences, which bound the items of a wave.")
    n_batch: int = Field(512, ge=32, le=65_536, description="Most tokens of one decode call.")
    n_ask: int = Field(62, ge=1, le=65_536, description="Most tokens of a decode that asks questions.")
    n_threads: int = Field(0, ge=0, le=1024, description="Threads of llama.cpp; 0 for all cores.")
    n_gpu_layers: int = Field(0, ge=-1, description="Layers on a GPU; -1 for all.")
    flash_attention: bool = Field(True, description="Skips masked tiles of the shared cache.")
    use_extra_bufts: bool | None = Field(
        None,
        description="Lets llama.cpp rearrange quantised weights for this processor, which is faster. If absent, it "
        "does where a test shows that it can; true skips that test.",
    )

    @property
    def has_source(self) -> bool:
        """Whether it names a model; without one servers answer everything."""
        return self.path is not None or self.repo_id is not None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.repo_id is not None:
            msg = "give exactly one of path and repo_id"
            raise ValueError(msg)
        if (self.repo_id is None) != (self.filename is None):
            msg = "repo_id and filename go together"
            raise ValueError(msg)
        return self


class AdapterConfig(Frozen):
    """One adapter of the map."""

    path: Path = Field(description="A LoRA GGUF file; relative to the config file.")
    scale: float = Field(1.0, gt=0, le=16, description="Factor on the adapter's own alpha / rank.")


def _adapter_form(value: object) -> str:
    is_served = isinstance(value, ServedConfig) or (isinstance(value, dict) and "server" in value)
    return SERVED if is_served else form(value)


AdapterEntry = Annotated[
    Annotated[AdapterConfig, Tag(TABLE)] | Annotated[Path, Tag(ONE)] | Annotated[ServedConfig, Tag(SERVED)],
    Discriminator(_adapter_form),
]


class Config(Frozen):
    """A whole config file."""

    servers: dict[str, ServerConfig] = Field(default_factory=dict, description="Server name -> how it is asked.")
    model: ModelConfig
    adapters: dict[str, AdapterEntry] = Field(
        default_factory=dict, description="Adapter name -> file, or the server that has it."
    )
    engine: EngineConfig = EngineConfig()
    cascade: dict[str, CascadeConfig] = Field(description="Cascade name -> its stages.")

    def cascades(self) -> dict[str, Cascade]:
        """All cascades in pure form, checked against the adapter map."""
        found = {name: config.cascade(name) for name, config in self.cascade.items()}
        for cascade in found.values():
            for stage in cascade.stages:
                for tier, question in stage.questions.items():
                    self._check_adapter(f"cascade.{cascade.name}.stages.{stage.name}.adapter", tier, question.adapter)
        return found

    @property
    def files(self) -> dict[str, AdapterConfig]:
        """The adapters that this process loads, in full form."""
        return {name: self.adapter(name) for name in self.adapters if name not in self.served}

    @property
    def served(self) -> dict[str, ServedConfig]:
        """The adapters that servers have."""
        return {name: entry for name, entry in self.adapters.items() if isinstance(entry, ServedConfig)}

    def adapter(self, name: str) -> AdapterConfig:
        """An entry of the adapter map that is a file, in full form."""
        entry = self.adapters[name]
        if isinstance(entry, ServedConfig):
            msg = f"adapters.{name}: the server {entry.server!r} has it; no file is known."
            raise ConfigError(msg)
        return entry if isinstance(entry, AdapterConfig) else AdapterConfig(path=entry)

    def scale(self, name: str) -> float:
        """The factor on an adapter's own alpha / rank, wherever it is."""
        entry = self.adapters[name]
        return entry.scale if isinstance(entry, ServedConfig) else self.adapter(name).scale

    @field_validator("model")
    @classmethod
    def _somebody_answers(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        if not model.has_source and not info.data.get("servers"):
            msg = "give exactly one of path and repo_id, or [servers] that answer everything"
            raise ValueError(msg)
        return model

    @field_validator("adapters")
    @classmethod
    def _known_servers(cls, adapters: dict[str, AdapterEntry], info: ValidationInfo) -> dict[str, AdapterEntry]:
        known = info.data.get("servers", {})
        for name, entry in adapters.items():
            if isinstance(entry, ServedConfig) and entry.server not in known:
                msg = f"{name} is on the unknown server {entry.server!r}; [servers] has {', '.join(known) or 'none'}"
                raise ValueError(msg)
        return adapters

    def _check_adapter(self, key: str, tier: str, adapter: str) -> None:
        if adapter not in {*self.adapters, "base"}:
            where = f"{key}.{tier}" if tier else key
            known = ", ".join(self.adapters) or "none"
            msg = f"{where}: unknown adapter {adapter!r}. The map [adapters] has {known}; add it there."
            raise ConfigError(msg)


def read_config(path: Path) -> Config:
    """A config file, its relative paths made absolute, every cascade checked.

    Raises:
        ConfigError: The file cannot be read, is not TOML, or does not fit; names file, key and remedy.
    """
    return _checked(read_model(Config, path, _REMEDY), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Untuned:
    """A config with a cascade whose thresholds are to be made.

    Attributes:
        config: The config without those that the cascade names, which need not be there.
        thresholds: Those that it names; None if it names none, or none that can be used.
        problem: Why they cannot be used; empty where they can, are not there, or none are named.
    """

    config: Config
    thresholds: ThresholdsFile | None = None
    problem: str = ""


def read_untuned(path: Path, name: str) -> Untuned:
    """A config file and apart from it the thresholds that one of its cascades names.

    Raises:
        ConfigError: As ``read_config`` says, but for those thresholds.
    """
    whole = read_model(Config, path, _REMEDY)
    entry = whole.cascade.get(name)
    if entry is None or entry.thresholds is None:
        return Untuned(config=_checked(whole, path))
    plain = {**whole.cascade, name: entry.model_copy(update={"thresholds": None})}
    config = _checked(whole.model_copy(update={"cascade": plain}), path)
    if isinstance(entry.thresholds, Path) and not is_file(path.resolve().parent / entry.thresholds.expanduser()):
        return Untuned(config=config)
    try:
        found = _checked(whole, path).cascade[name].thresholds
    except ConfigError as error:
        return Untuned(config=config, problem=str(error))
    return Untuned(config=config, thresholds=found if isinstance(found, ThresholdsFile) else None)


def _checked(config: Config, path: Path) -> Config:
    """The config of a file with its paths made absolute, the files that it names read, and every cascade checked."""
    try:
        config = _absolute(config, path.resolve().parent)
        config.cascades()
    except ConfigError as error:
        msg = f"{name_of(path)}: {error}"
        raise ConfigError(msg) from error
    except RuntimeError as error:  # "~name" of nobody
        msg = f"{name_of(path)}: {error} Write the folder in full."
        raise ConfigError(msg) from error
    except OSError as error:  # the working directory was deleted
        msg = f"{name_of(path)}: its folder cannot be told ({reason(error)}). Call from a folder that is there."
        raise ConfigError(msg) from error
    return config


def shipped_config() -> Path:
    """The config of the shipped adapter set."""
    package = Path(__file__).parent
    installed = package / "shipped" / "map.toml"
    return installed if is_file(installed) else package.parent / "adapters" / "map.toml"


def _absolute(config: Config, folder: Path) -> Config:
    model = config.model
    if model.path is not None:
        model = model.model_copy(update={"path": folder / model.path.expanduser()})
    files = {
        name: entry.model_copy(update={"path": folder / entry.path.expanduser()})
        for name, entry in config.files.items()
    }
    adapters = config.adapters | files
    cascades = {name: _with_files(entry, folder) for name, entry in config.cascade.items()}
    return config.model_copy(update={"model": model, "adapters": adapters, "cascade": cascades})


def _with_files(cascade: CascadeConfig, folder: Path) -> CascadeConfig:
    """The cascade with the files that it names read."""
    read: dict[str, OutlookConfig | ThresholdsFile] = {}
    if isinstance(cascade.outlook, Path):
        read["outlook"] = read_outlook(folder / cascade.outlook.expanduser())
    if isinstance(cascade.thresholds, Path):
        read["thresholds"] = read_thresholds(folder / cascade.thresholds.expanduser())
    return cascade.model_copy(update=read)
