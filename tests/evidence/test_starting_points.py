"""Files that a task names are where the work starts: by paths, tracebacks and modules, of this machine or another."""

from __future__ import annotations

import pytest

from cascade.evidence.starting_points import MODULE, MOST, PATH, TRACEBACK, starting_points

PATHS = (
    "app/__init__.py",
    "app/fees/__init__.py",
    "app/fees/halves.py",
    "app/main.py",
    "app/purse.py",
    "lib/purse.py",
    "web/src/cart.ts",
    "web/src/Main.java",
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.125 is off in app/fees/halves.py", {"app/fees/halves.py": PATH}),
        ("see ./fees/halves.py:12, please.", {"app/fees/halves.py": TRACEBACK}),
        (r"see C:\\work\\shop\\app\\fees\\halves.py", {"app/fees/halves.py": PATH}),
        ("https://example.org/shop/blob/main/web/src/cart.ts#L3", {"web/src/cart.ts": PATH}),
        ("`halves.py` rounds", {"app/fees/halves.py": PATH}),
        ("lib/purse.py and not the other", {"lib/purse.py": PATH}),
        ("purse.py is one of two", {"app/purse.py": PATH, "lib/purse.py": PATH}),
        ("no __init__.py but that of fees/__init__.py", {"app/fees/__init__.py": PATH, "app/__init__.py": PATH}),
        ("app.fees.halves.nearest raises", {"app/fees/halves.py": MODULE}),
        ("import app.fees", {"app/fees/__init__.py": MODULE}),
        ("    at total (/srv/web/src/cart.ts:10:5)", {"web/src/cart.ts": TRACEBACK}),
        ("\tat com.shop.Main.total(Main.java:12)", {"web/src/Main.java": TRACEBACK}),
        ("e.g. version 1.5.py of nothing, self.total or other/absent.py", {}),
        ("", {}),
    ],
)
def test_what_a_text_names(text: str, found: dict[str, str]) -> None:
    """A path counts from its end, a dotted name by its longest beginning; what fits nothing is no file."""
    assert starting_points(text, PATHS) == found


def test_the_last_line_of_a_traceback_comes_first() -> None:
    """It is where the error was raised; paths that only the text has come after, as does a file's second mention."""
    text = """fails beside lib/purse.py
Traceback (most recent call last):
  File "/srv/shop/app/main.py", line 31, in <module>
    total(line)
  File "/srv/shop/app/fees/halves.py", line 8, in nearest
OverflowError: cannot convert float infinity to integer"""
    assert list(starting_points(text, PATHS)) == ["app/fees/halves.py", "app/main.py", "lib/purse.py"]


def test_a_name_of_many_files_names_none() -> None:
    """Three files that are meant alike are no starting point, and one task names a few files at most."""
    paths = [f"part{number}/config.py" for number in range(9)]
    assert not starting_points("config.py", paths)
    assert len(starting_points(" ".join(paths), paths)) == MOST


@pytest.mark.parametrize("text", ["a/" * 500_000 + "main.py", "a." * 500_000, "x" * 1_000_000 + ".py", ":1" * 500_000])
def test_texts_of_any_length_are_read(text: str) -> None:
    """A megabyte that looks like one path or one module takes no longer than any other."""
    assert not starting_points(text, PATHS)
