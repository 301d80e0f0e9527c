"""Files that a task names are where the work starts: by paths, tracebacks and modules, of this machine or another."""

from __future__ import annotations

import pytest

from cascade.evidence.starting_points import MODULE, MOST, PATH, TRACEBACK, starting_points, traced_calls

PATHS = (
    "app/__init__.py",
    "app/fees/__init__.py",
    "app/fees/halves.py",
    "app/main.py",
    "app/purse.py",
    "lib/purse.py",
    "web/src/cart.ts",
    "web/src/Main.java",
    "lib/purse.rb",
    "web/src/Cart.cs",
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
        ("lib/purse.rb:3:in 'Purse#open': undefined method (NoMethodError)", {"lib/purse.rb": TRACEBACK}),
        ("   at Shop.Cart.Add(Item item) in /srv/web/src/Cart.cs:line 3", {"web/src/Cart.cs": TRACEBACK}),
        ("FAILED app/fees/halves.py::test_nearest[1]", {"app/fees/halves.py": PATH}),
        ("look at @app/main.py", {"app/main.py": PATH}),
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


TRACES = [
    ('  File "/srv/app/fees/halves.py", line 8, in nearest\n', "app/fees/halves.py", "nearest"),
    ('  File "/srv/app/main.py", line 3, in <module>\n', "", ""),
    ("    at Cart.total (/srv/web/src/cart.ts:10:5)\n", "web/src/cart.ts", "total"),
    ("    at async Promise.total (web/src/cart.ts:10:5)\n", "web/src/cart.ts", "total"),
    ("    at new Cart (file:///srv/web/src/cart.ts:10:5)\n", "", ""),
    ("\tat com.shop.Main.total(Main.java:12)\n", "web/src/Main.java", "total"),
    ("\tfrom lib/purse.rb:12:in `Purse#open'\n", "lib/purse.rb", "open"),
    ("lib/purse.rb:12:in 'Shop::Purse.open'\n", "lib/purse.rb", "open"),
    ("lib/purse.rb:12:in `block (2 levels) in open'\n", "lib/purse.rb", "open"),
    ("lib/purse.rb:12:in 'rescue in block in Shop::Purse#open'\n", "lib/purse.rb", "open"),
    ("   at Shop.Cart.Add(Item item) in /srv/web/src/Cart.cs:line 3\n", "web/src/Cart.cs", "Add"),
    ("   at Shop.Cart.Add(Item item) in C:\\srv\\web\\src\\Cart.cs:line 3\n", "web/src/Cart.cs", "Add"),
    ("main.(*Server).Serve(0xc000, {0x1, 0x2})\n\t/srv/web/serve.go:31 +0x1d\n", "web/serve.go", "Serve"),
    ("shop/web.Serve(...)\n\t/srv/web/serve.go:31\n", "web/serve.go", "Serve"),
    ("main.(*Server).Serve.func1.2()\n\t/srv/web/serve.go:31 +0x1d\n", "web/serve.go", "Serve"),
    ("main.Each[...](0x1)\n\t/srv/web/serve.go:31 +0x1d\n", "web/serve.go", "Each"),
    ("   4: shop::cart::Cart::total\n             at ./src/cart.rs:12:9\n", "src/cart.rs", "total"),
    ("   4: shop::cart::Cart<T>::total\n             at /rustc/abc/src/other.rs:12\n", "", ""),
]


@pytest.mark.parametrize(("line", "path", "name"), TRACES)
def test_calls_of_traces(line: str, path: str, name: str) -> None:
    """Of Python, JavaScript, Java, Ruby, C#, Go and Rust: the file, and the function without its owners."""
    paths = (*PATHS, "web/serve.go", "src/cart.rs")
    assert traced_calls(f"It fails:\n{line}so it does", paths) == ([((path,), name)] if path else [])


def test_calls_come_in_the_order_of_the_text() -> None:
    """Of all languages together; files that are not in the repository are passed over."""
    paths = (*PATHS, "web/serve.go", "src/cart.rs")
    known = [(line, path, name) for line, path, name in TRACES if path]
    text = "\n".join(line for line, _, _ in known) + '\n  File "/usr/lib/json.py", line 1, in loads\n'
    assert traced_calls(text, paths) == [((path,), name) for _, path, name in known]
    assert traced_calls(text[::-1], paths) == traced_calls("", paths) == []
