"""A table ``[cascade.NAME]`` of a config file, and the tree that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from cascade.budget import Budget
from cascade.config.profile import ProfileConfig
from cascade.config.stages import AskingStageConfig, PriorStageConfig, StageEntry
from cascade.config.thresholds import ThresholdsFile
from cascade.config.toml import ONE, TABLE, Frozen, Name, at_key, form
from cascade.errors import ConfigError
from cascade.profile import Profile
from cascade.stages import Source, Stage
from cascade.tree import Cascade, ItemKind

ProfileEntry = Annotated[Annotated[ProfileConfig, Tag(TABLE)] | Annotated[Path, Tag(ONE)], Discriminator(form)]


class CascadeConfig(Frozen):
    """A tree of stages; the first stage is asked first."""

    # A file that extends another may leave out what its base says; editors cannot see that.
    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required", None))

    instructions: str = Field("Answer each question about the candidate.", description="Stands before the questions.")
    labels: tuple[Name, ...] = Field(description="Every label that a stage leads to, in the order of reports.")
    dropped: str = Field("", description="Label of what does not matter; the first label if absent.")
    items: ItemKind | None = Field(
        None,
        description="What of a repository its items are: symbols, files, folders, the retrieval stages, or pairs of "
        "files; if absent, files where a stage asks by tier, since retrieval tiers find files, and symbols otherwise.",
    )
    evidence: Literal["given", "made"] = Field(
        "given",
        description="Whether items are asked as they are, or those that bring no evidence get it first, made of their "
        "name, signature, documentation, text and group against the task.",
    )
    budget_ms: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Milliseconds a request may take where its caller does not say."
    )
    max_depth: int | None = Field(None, ge=1, description="Most stages that an item passes, likewise.")
    profile: ProfileEntry | None = Field(
        None, description="What labelled data say of its items: a table, or the file that `cascade depth --out` wrote."
    )
    thresholds: (
        Annotated[Annotated[ThresholdsFile, Tag(TABLE)] | Annotated[Path, Tag(ONE)], Discriminator(form)] | None
    ) = Field(
        None, description="The file that `cascade tune --out` wrote; its thresholds win over those of the stages."
    )
    prior_source: Source | None = Field(
        None, description="Where the p of its prior stage comes from, in place of that stage's own `source`."
    )
    stages: tuple[StageEntry, ...] = Field(
        max_length=64, description='The first is asked first; one of kind "prior" may stand before it.'
    )

    def budget(self) -> Budget:
        """What a request may spend where its caller does not say."""
        return Budget(ms=self.budget_ms, depth=self.max_depth)

    def cascade(self, name: str) -> Cascade:
        """The pure form, checked.

        Raises:
            ConfigError: Names the key that does not fit.
        """
        with at_key(f"cascade.{name}"):
            return self._cascade(name)

    def _cascade(self, name: str) -> Cascade:
        stages = self._asking_stages(name)
        prior_stage = self._prior_stage(name)
        if isinstance(self.thresholds, ThresholdsFile):
            stages, prior_stage = self.thresholds.put_on(name, stages, prior_stage)
        return Cascade(
            name=name,
            instructions=self.instructions,
            labels=self.labels,
            stages=stages,
            dropped=self.dropped,
            profile=self.profile.profile() if isinstance(self.profile, ProfileConfig) else Profile(),
            prior_stage=prior_stage,
            items=self._items(name, stages),
            makes_evidence=self.evidence == "made",
        )

    def _asking_stages(self, name: str) -> tuple[Stage, ...]:
        found = []
        for stage in self.stages:
            if isinstance(stage, AskingStageConfig):
                with at_key(f"cascade.{name}.stages.{stage.name}"):
                    found.append(stage.stage(name))
        return tuple(found)

    def _items(self, name: str, stages: Sequence[Stage]) -> ItemKind | None:
        asks_by_tier = [stage.name for stage in stages if stage.is_tiered]
        if self.items not in {None, ItemKind.FILES} and asks_by_tier:
            msg = (
                f'cascade.{name}.items: "{self.items}" is given, stage {asks_by_tier[0]!r} asks by tier, and '
                f"{self.items} of a repository have no tiers. "
                'Set items = "files", or give the stage one question for all.'
            )
            raise ConfigError(msg)
        return self.items

    def _prior_stage(self, name: str) -> Stage | None:
        places = [place for place, stage in enumerate(self.stages) if isinstance(stage, PriorStageConfig)]
        if places not in ([], [0]):
            msg = (
                f'cascade.{name}.stages: one of kind "prior" stands at place {places[-1] + 1}. What it knows is known '
                "before anything is asked; let it stand first, and alone."
            )
            raise ConfigError(msg)
        first = self.stages[0] if places else None
        if isinstance(first, PriorStageConfig):
            with at_key(f"cascade.{name}.stages.{first.name}"):
                return replace(first.stage(), source=self.prior_source or first.source)
        if self.prior_source is not None:
            msg = (
                f"cascade.{name}.prior_source: {self.prior_source.value!r} is given, and no prior stage stands before "
                "its questions. Add one to its stages, or leave the key away."
            )
            raise ConfigError(msg)
        return None
