"""Candidates of a checkout, from the task to the items."""

from __future__ import annotations

from cascade.evidence.starting_points import PATH
from tests.helpers.checkout import Checkout


def test_a_file_that_the_task_names_is_a_seed(checkout: Checkout) -> None:
    """What it imports is a candidate, a note and the JSON say why it is one, and nobody is asked for files."""
    checkout.init().commit(
        {
            "app/fees/halves.py": "from app.purse import Coin\ndef nearest(amount): ...\n",
            "app/purse.py": "class Coin: ...\n",
            **{f"app/page{number}.py": f"def page{number}(): ...\n" for number in range(20)},
        }
    )
    found = checkout.find("the amount comes out too small in app/fees/halves.py")
    assert found.task.seeds == ("app/fees/halves.py",)
    assert {"app/purse.py"} == {file.path for file in found.files if "dependency" in file.tiers}
    assert f"Starts from app/fees/halves.py, {PATH}." in found.messages
    assert not [line for line in found.messages if "name the files" in line]
    given = checkout.find("the amount comes out too small in app/fees/halves.py", "app/purse.py")
    assert given.task.seeds == ("app/purse.py", "app/fees/halves.py")
    assert given.reading()["starting_points"] == {"app/purse.py": "given by the caller", "app/fees/halves.py": PATH}
