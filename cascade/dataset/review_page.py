"""The page on which somebody looks at items and says what they are: one file that needs nothing else.

Its script, the only one that the page allows itself, does no more than turn the answers into a file of outcomes for
``cascade log outcome``. What comes from outside stands in the page as text, and in the script not at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from cascade.audit.html.draw import COLOURS, check_libraries
from cascade.dataset.known import REVIEW
from cascade.dataset.picking import Picked
from cascade.dataset.review import Shown, sampled
from cascade.files import write_whole
from cascade.tree import Cascade


def check_page() -> None:
    """Check that a page can be made; call it before work that takes long.

    Raises:
        MachineError: The extra ``report`` is not installed; it says what installs it.
    """
    check_libraries("jinja2")


def write_page(path: Path, cascade: Cascade, found: Sequence[Shown], picked: Picked, source: str = REVIEW) -> None:
    """Write the page.

    Args:
        path: The file.
        cascade: The cascade, for its labels.
        found: The items.
        picked: How they were picked.
        source: Who looks; the source of the outcomes.

    Raises:
        MachineError: The extra ``report`` is not installed, or the file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - the extra `report` may be absent

    folder = files("cascade.dataset")
    script = folder.joinpath("review.js").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("review.html").read_text(encoding="utf-8"))
    drawn = [
        {"task": one.task, "item": one.item, "what": one.what, "value": one.value, "source": one.source}
        for one in sampled(picked, source)
    ]
    text = template.render(
        cascade=cascade,
        found=found,
        labels=cascade.answers,
        source=source,
        drawn=json.dumps(drawn),
        colours=COLOURS,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    write_whole(path, text.encode())
