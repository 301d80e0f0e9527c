"""Colours of the page and its pictures: few, told apart by colour-blind eyes, and readable on their ground. Pure.

Source: Okabe and Ito (2008), Color universal design, for the two tones; darker or lighter where text needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from cascade.audit.html.chart import Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """Colours as ``#rrggbb``.

    Attributes:
        ground: Behind everything.
        card: Behind charts and tables.
        ink: Text.
        soft: Text that matters less.
        line: Thin lines that carry no meaning.
        tones: Of marks.
        ramp: Of cells, from the smallest share to the largest, each with the colour of the text on it.
    """

    ground: str
    card: str
    ink: str
    soft: str
    line: str
    tones: dict[Tone, str]
    ramp: tuple[tuple[str, str], ...]

    def step(self, share: float) -> int:
        """Which colour of the ramp a share in [0, 1] has."""
        return min(len(self.ramp) - 1, int(share * len(self.ramp)))

    def variables(self) -> dict[str, str]:
        """Name of the CSS variable -> colour."""
        named = {name: getattr(self, name) for name in ("ground", "card", "ink", "soft", "line")}
        named |= {str(tone): colour for tone, colour in self.tones.items()}
        for at, (fill, ink) in enumerate(self.ramp):
            named |= {f"cell-{at}": fill, f"on-cell-{at}": ink}
        return named


LIGHT = Palette(
    ground="#f6f7f9",
    card="#ffffff",
    ink="#1a2230",
    soft="#55606f",
    line="#d8dde4",
    tones={Tone.FIRST: "#0068a8", Tone.SECOND: "#bb4d00", Tone.QUIET: "#7d8794"},
    ramp=(
        ("#f1f6fb", "#1a2230"),
        ("#d3e5f3", "#1a2230"),
        ("#aed0ea", "#1a2230"),
        ("#7fb6de", "#10202e"),
        ("#1f77b4", "#ffffff"),
        ("#0b4f82", "#ffffff"),
    ),
)

DARK = Palette(
    ground="#12161c",
    card="#1a2029",
    ink="#e8ecf1",
    soft="#a7b1be",
    line="#36404d",
    tones={Tone.FIRST: "#56b4e9", Tone.SECOND: "#f0a030", Tone.QUIET: "#8a95a3"},
    ramp=(
        ("#1d2733", "#e8ecf1"),
        ("#1f3a53", "#e8ecf1"),
        ("#1f5279", "#ffffff"),
        ("#2268a0", "#ffffff"),
        ("#56b4e9", "#0b1420"),
        ("#a6d8f5", "#0b1420"),
    ),
)
