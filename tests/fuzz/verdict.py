"""What became of one input, and what makes an error one that its reader can act on."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cascade.errors import CascadeError
from tests.fuzz.target import Take

_KEY = re.compile(r"[^\s:]+: ")  # a field or key, as a dotted path, begins the message
_QUOTED = re.compile(r"'[^']*'")  # as what is at fault was given
_SENTENCE = re.compile(r"[.;] \S")
_INSTRUCTION = re.compile(
    r"\b(?:should|must|needed|needs|allowed|known|due|give|get|add|remove|see|leave|choose|name|write|use|mend|export)\b",
    re.IGNORECASE,
)


class Verdict(StrEnum):
    """What became of one input.

    ``accepted``: it was used, to the end.
    ``refused``: an error says what is wrong and what to do, or it was passed over with a message.
    ``death``: the process died.
    ``hang``: there was no answer in time.
    ``error``: an error that is not a CascadeError, or one that nobody can act on.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DEATH = "death"
    HANG = "hang"
    ERROR = "error"

    @property
    def is_bad(self) -> bool:
        """Whether it must not happen."""
        return self in {Verdict.DEATH, Verdict.HANG, Verdict.ERROR}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the message or traceback behind it."""

    verdict: Verdict
    note: str = ""


def lack(error: CascadeError, folder: Path) -> str:
    """What an error's message lacks; empty where it lacks nothing.

    It must name the file, or the key, field or item, and say what to do: in a second sentence, or by a word that says
    what is needed.
    """
    text = str(error)
    if not (str(folder) in text or _KEY.match(text) or _QUOTED.search(text)):
        return "names neither file nor field"
    if not (_SENTENCE.search(text) or _INSTRUCTION.search(text)):
        return "does not say what to do"
    return ""


def judged(take: Take, folder: Path) -> Outcome:
    """What becomes of the files of a folder, in this process."""
    try:
        return Outcome(Verdict.ACCEPTED if take(folder) else Verdict.REFUSED)
    except CascadeError as error:
        missing = lack(error, folder)
        note = f"{type(error).__name__}: {error}"
        return Outcome(Verdict.ERROR, f"{note}\n(the message {missing})") if missing else Outcome(Verdict.REFUSED, note)
    except Exception:  # noqa: BLE001 - whatever it is, it is what fuzzing looks for
        return Outcome(Verdict.ERROR, traceback.format_exc())
