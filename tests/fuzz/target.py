"""What is fuzzed: a strategy that makes the files of an input, and a function that uses them as the library does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

Files = Mapping[str, bytes]
"""File name -> contents: one input."""

Take = Callable[[Path], bool]
"""Uses the files of a folder, all the way to an answer where they are taken.

False where they are passed over; raises a CascadeError where they are refused. Anything else that it raises is a fault.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of input.

    Attributes:
        name: What the command line calls it.
        share: How many inputs of a run are of it, in proportion to the others.
        files: Makes inputs.
        take: Uses them.
    """

    name: str
    share: float
    files: SearchStrategy[Files]
    take: Take
