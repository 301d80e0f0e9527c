"""What a file of thresholds or an outlook was made from, as text: so that one is not taken for another."""

from __future__ import annotations

from pydantic import Field

from cascade.toml_file import Frozen, toml_key, toml_text
from cascade.tuning.scored import Origin


class MadeForConfig(Frozen):
    """What a file was made from; hashes are SHA-256 in hex."""

    model: str
    data: str
    questions: str
    adapters: dict[str, str] = Field(default_factory=dict)

    def origin(self) -> Origin:
        """The pure form."""
        return Origin(**self.model_dump())

    def lines(self) -> list[str]:
        """As TOML."""
        lines = [f"{name} = {toml_text(getattr(self, name))}" for name in ("model", "data", "questions")]
        adapters = [f"{toml_key(name)} = {toml_text(sha)}" for name, sha in self.adapters.items()]
        return ["", "[made_for]", *lines, "", "[made_for.adapters]", *adapters]
