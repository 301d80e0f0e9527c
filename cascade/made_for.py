"""What a file of thresholds or an outlook was made from, as text: so that one is not taken for another."""

from __future__ import annotations

from pydantic import Field

from cascade.toml_file import Frozen, toml_key
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
        names = ("model", "data", "questions")
        found = ["", "[made_for]", *(f'{name} = "{getattr(self, name)}"' for name in names), "", "[made_for.adapters]"]
        return found + [f'{toml_key(name)} = "{sha}"' for name, sha in self.adapters.items()]
