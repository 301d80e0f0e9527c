"""Profiles as text: in a config, or in the TOML file that ``cascade depth --out`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cascade.config.toml import Frozen, read_model, write_toml
from cascade.profile import Prior, Profile
from cascade.report import Origin


class MadeForConfig(Frozen):
    """What a file was made from; hashes are SHA-256 in hex."""

    model: str
    data: str
    questions: str
    adapters: dict[str, str] = Field(default_factory=dict)

    def origin(self) -> Origin:
        """The pure form."""
        return Origin(**self.model_dump())


_Share = Annotated[float, Field(ge=0, le=1)]
_Rate = Annotated[float, Field(gt=0, lt=1)]
_Weight = Annotated[float, Field(allow_inf_nan=False)]


class PriorConfig(Frozen):
    """A logistic model of an item's facts."""

    bias: _Weight = Field(description="Log odds of an item without known facts.")
    weights: dict[str, _Weight] = Field(default_factory=dict, description="Fact -> what it adds to the log odds.")

    def prior(self) -> Prior:
        """The pure form."""
        return Prior(bias=self.bias, weights=self.weights)


class ProfileConfig(Frozen):
    """What labelled data say of a cascade's items."""

    pass_rates: dict[str, _Rate] = Field(default_factory=dict, description="Stage -> share of yes.")
    uncertain_rates: dict[str, _Rate] = Field(
        default_factory=dict, description="Stage -> share of what it is uncertain of."
    )
    answer_rates: dict[str, dict[str, _Share]] = Field(
        default_factory=dict, description="Stage with a choice or score -> answer -> its share."
    )
    label_shares: dict[str, dict[str, _Share]] = Field(
        default_factory=dict, description="Stage -> label -> share of the items that reach it."
    )
    prior: PriorConfig | None = Field(None, description="How likely an item matters before it is asked anything.")
    made_for: MadeForConfig | None = Field(None, description="What it was learned from; of files alone.")

    def profile(self) -> Profile:
        """The pure form."""
        prior = self.prior.prior() if self.prior else None
        return Profile(
            pass_rates=self.pass_rates,
            label_shares=self.label_shares,
            prior=prior,
            uncertain_rates=self.uncertain_rates,
            answer_rates=self.answer_rates,
        )


def read_profile(path: Path) -> ProfileConfig:
    """A profile from its file.

    Raises:
        ConfigError: It cannot be read, is not TOML, or does not fit; names file, key and remedy.
    """
    return read_model(ProfileConfig, path, "Write it with `cascade depth --out`, or leave profile away.")


def write_profile(profile: Profile, path: Path, source: str, made_for: MadeForConfig | None = None) -> None:
    """Write a profile so that a config can name the file.

    Args:
        profile: What to write.
        path: Where.
        source: What it was learned from, in one line.
        made_for: The same as hashes.

    Raises:
        MachineError: The file cannot be written.
    """
    tables: dict[str, Any] = {
        "pass_rates": {stage: round(rate, 4) for stage, rate in profile.pass_rates.items()},
        "uncertain_rates": {stage: round(rate, 4) for stage, rate in profile.uncertain_rates.items()} or None,
        "answer_rates": {
            stage: {answer: round(share, 4) for answer, share in shares.items()}
            for stage, shares in profile.answer_rates.items()
        }
        or None,
        "label_shares": {
            stage: {label: round(share, 4) for label, share in shares.items()}
            for stage, shares in profile.label_shares.items()
        },
    }
    if profile.prior is not None:
        weights = {feature: round(weight, 4) for feature, weight in sorted(profile.prior.weights.items())}
        tables["prior"] = {"bias": round(profile.prior.bias, 4), "weights": weights}
    if made_for is not None:
        tables["made_for"] = made_for.model_dump()
    write_toml(tables, path, source)
