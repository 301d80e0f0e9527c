"""Which files count, and what happens to those that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.repository.exclusions import is_source
from cascade.repository.find import find_candidates
from tests.helpers.checkout import Checkout


def found(checkout: Checkout, text: str = "widget") -> set[str]:
    """Paths that the task's word finds."""
    return {record.path for record in checkout.find(text).files}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src/flask/app.py", True),
        ("web/view.tsx", True),
        ("tests/test_app.py", False),
        ("pkg/app_test.go", False),
        ("web/view.spec.ts", False),
        ("pkg/conftest.py", False),
        ("setup.py", False),
        ("docs/conf.py", False),
        ("pkg/docs/build.py", True),
        ("pip/_vendor/rich/text.py", False),
        ("web/node_modules/a/index.js", False),
        (".tox/a.py", False),
        ("lib/jquery.min.js", False),
        ("README.md", False),
        ("pkg/latest.py", True),
    ],
)
def test_source_of_the_project_itself(path: str, expected: bool) -> None:  # noqa: FBT001
    """Tests, vendored code, build and documentation scripts are no candidates."""
    assert is_source(path) is expected


def test_git_decides_which_files_count(checkout: Checkout) -> None:
    """Ignored files stay out, untracked ones come in, deleted ones are gone."""
    checkout.init().commit({".gitignore": "*_generated.py\n", "widget_old.py": "", "widget_gone.py": ""})
    checkout.write({"widget_new.py": "", "widget_generated.py": ""})
    (checkout.root / "widget_gone.py").unlink()
    assert found(checkout) == {"widget_old.py", "widget_new.py"}
    (deleted,) = (line for line in checkout.find("widget").messages if "history" not in line)
    assert deleted == "1 file is listed by git and not there: widget_gone.py"


def test_folder_without_git_is_walked(checkout: Checkout) -> None:
    """Hidden folders, environments, caches and build output are left out, a package called build is not."""
    checkout.write({
        "widget.py": "", ".hidden/widget.py": "", "node_modules/widget.js": "", "env/pyvenv.cfg": "",
        "env/lib/widget.py": "", "__pycache__/widget.py": "", "build/lib/widget.py": "", "dist/widget.py": "",
        "ops/build/__init__.py": "", "ops/build/widget.py": "",
    })  # fmt: skip
    assert found(checkout) == {"widget.py", "ops/build/widget.py"}
    assert "Without git" in checkout.find("widget").messages[0]


def test_untracked_environment_is_left_out_of_a_repository(checkout: Checkout) -> None:
    """A virtual environment that nobody ignored is still not the project."""
    checkout.init().commit({"widget.py": ""}).write({"env/pyvenv.cfg": "", "env/lib/widget.py": ""})
    assert found(checkout) == {"widget.py"}


def test_root_may_be_a_folder_of_a_repository(checkout: Checkout) -> None:
    """Paths and history are relative to the root that was given, what lies outside is not seen."""
    checkout.init()
    for number in range(3):
        checkout.commit({"app/widget.py": f"a = {number}", "app/view.py": f"b = {number}", "top.py": f"c = {number}"})
    result = find_candidates(checkout.root / "app", "widget", ["widget.py"], cache=None)
    assert [(record.path, record.co_changes) for record in result.files] == [("view.py", 3)]
    assert result.messages == ()


def test_ignored_folder_of_a_repository_is_walked(checkout: Checkout) -> None:
    """A root that its repository ignores is read like a folder without git."""
    checkout.init().commit({".gitignore": "inner/\n", "a.py": ""}).write({"inner/widget.py": ""})
    result = find_candidates(checkout.root / "inner", "widget", cache=None)
    assert [record.path for record in result.files] == ["widget.py"]
    assert "git lists no files" in result.messages[0]


def test_repository_without_commits(checkout: Checkout) -> None:
    """A fresh repository has files but no history, and says so."""
    checkout.init().write({"a.py": "import widget", "widget.py": ""})
    result = checkout.find("widget", "a.py")
    assert [record.path for record in result.files] == ["widget.py"]
    assert result.messages == ("Without the history (the repository has no commits yet): there is no co-change tier.",)


def test_a_repository_without_files(checkout: Checkout) -> None:
    """A fresh repository in an empty folder is not said to be read without git."""
    checkout.init()
    result = checkout.find("anything")
    assert (result.files, result.symbols) == ((), ())
    assert not any("Without git" in message for message in result.messages)


def test_damaged_repository_is_walked(checkout: Checkout) -> None:
    """A .git that git refuses costs the history, not the files."""
    checkout.write({".git": "gitdir: /nowhere", "widget.py": ""})
    assert found(checkout) == {"widget.py"}


def test_files_that_cannot_be_read_are_told(checkout: Checkout) -> None:
    """Huge and binary files are skipped; broken and wrongly coded ones stay without symbols."""
    checkout.write({
        "widget_huge.py": "x = 1\n" * 100_001,
        "widget_binary.py": b"\x7fELF\0\0",
        "widget_broken.py": "def widget(:\n",
        "widget_latin.py": "def f(): 'größer'\n".encode("latin-1"),
        "widget_null.py": b"#" * 9000 + b"\n\0",
        "widget_cookie.py": "# coding: latin-1\ndef f(): 'größer'\n".encode("latin-1"),
    })  # fmt: skip
    checkout.write({f"plain{number}.py": "" for number in range(9)})  # a word of most files would tell nothing
    result = checkout.find("widget")
    told = "\n".join(result.messages)
    assert {record.path for record in result.files} == {
        "widget_broken.py", "widget_latin.py", "widget_null.py", "widget_cookie.py",
    }  # fmt: skip
    assert [symbol.id for symbol in result.symbols] == ["widget_cookie.py::f"]
    assert "1 file is left out as larger than 600 kB: widget_huge.py" in told
    assert "1 file is left out as binary: widget_binary.py" in told
    assert "2 files have no symbols, because they do not parse as Python: widget_broken.py, widget_null.py" in told
    assert "1 file has no symbols, because it is not UTF-8 and declares no other coding: widget_latin.py" in told


def test_many_skipped_files_make_one_message(checkout: Checkout) -> None:
    """A message counts its files and names three."""
    checkout.write({f"widget{n}.py": "(" for n in range(7)})
    told = [message for message in checkout.find("widget").messages if "parse" in message]
    assert told == [
        "7 files have no symbols, because they do not parse as Python: widget0.py, widget1.py, widget2.py, ..."
    ]


def test_links_are_not_followed(checkout: Checkout, tmp_path: Path) -> None:
    """Neither a linked file nor a linked folder brings in what lies elsewhere."""
    checkout.write({"widget.py": ""})
    Checkout(tmp_path / "other").write({"widget_secret.py": "", "deep/widget_secret.py": ""})
    (checkout.root / "widget_link.py").symlink_to(tmp_path / "other/widget_secret.py")
    (checkout.root / "folder").symlink_to(tmp_path / "other/deep")
    assert found(checkout) == {"widget.py"}
    checkout.init().commit()
    assert found(checkout) == {"widget.py"}


def test_names_in_any_script(checkout: Checkout) -> None:
    """Unicode file names are kept as they are, in git and in its history too."""
    checkout.init()
    for number in range(2):
        checkout.commit({"größe/виджет.py": f"a = {number}", "größe/ウ.py": f"b = {number}"})
    result = checkout.find("widget", "größe/виджет.py")
    assert [(record.path, record.co_changes) for record in result.files] == [("größe/ウ.py", 2)]


def test_names_that_cannot_stand_in_a_prompt_are_skipped(checkout: Checkout) -> None:
    """A line break or bytes that are no UTF-8 in a name leave the file out, with a message."""
    checkout.write({"widget.py": "", "widget\n.py": ""})
    (checkout.root / os.fsdecode(b"widget_\xff.py")).touch()
    result = checkout.find("widget")
    assert [record.path for record in result.files] == ["widget.py"]
    assert any(message.startswith("2 files are left out, because their names") for message in result.messages)
    assert all(message.isprintable() for message in result.messages)


def test_seeds_may_be_given_in_three_ways(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the root, relative to the working directory, or absolute: one path comes back."""
    checkout.write({"app/widget.py": ""})
    monkeypatch.chdir(checkout.root / "app")
    result = checkout.find("x", "app/widget.py", "widget.py", str(checkout.root / "app/widget.py"))
    assert result.task.seeds == ("app/widget.py",)


def test_a_seed_may_be_the_end_of_one_path(checkout: Checkout) -> None:
    """As a task names it; of several files with that end all are named, and none is taken."""
    checkout.write({"src/app/widget.py": "", "src/app/base.py": "", "src/base.py": ""})
    for seed in ("widget.py", "app/widget.py"):
        assert checkout.find("x", seed).task.seeds == ("src/app/widget.py",)
    with pytest.raises(InputError, match=r"'base.py' may be src/app/base.py, src/base.py; give a file"):
        checkout.find("x", "base.py")


@pytest.mark.parametrize(
    ("seed", "told"), [("missing.py", "does not exist"), ("app", "is a folder"), ("../other.py", "lies outside")]
)
def test_wrong_seeds_are_refused(checkout: Checkout, seed: str, told: str) -> None:
    """A seed that cannot be used is named with what to do."""
    checkout.write({"app/widget.py": "", "../other.py": ""})
    with pytest.raises(InputError, match=f"{seed}.*{told}.*give a file"):
        checkout.find("x", seed)


@pytest.mark.parametrize("seed", ["x" * 5000, "nul\0.py", ""])
def test_impossible_seeds_are_refused(checkout: Checkout, seed: str) -> None:
    """A name that no file can have is refused like any other that is missing."""
    with pytest.raises(InputError, match="give a file"):
        checkout.find("x", seed)


def test_wrong_root_is_refused(checkout: Checkout) -> None:
    """A root must be an existing folder."""
    checkout.write({"a.py": ""})
    for root in (checkout.root / "missing", checkout.root / "a.py"):
        with pytest.raises(InputError, match="is no folder"):
            find_candidates(root, "x", cache=None)


def test_seed_that_is_no_source_still_has_a_history(checkout: Checkout) -> None:
    """A seed may be a test or in any language; it is told when it has no symbols."""
    checkout.init()
    for number in range(2):
        checkout.commit({"notes.md": f"{number}", "widget.py": f"a = {number}", "tests/test_a.py": "def test(): ..."})
    result = checkout.find("x", "notes.md", "tests/test_a.py")
    assert [(record.path, record.co_changes) for record in result.files] == [("widget.py", 2)]
    assert [symbol.id for symbol in result.symbols] == ["tests/test_a.py::test"]
    assert result.messages == ("1 file has no symbols, because its language is not read: notes.md",)


def test_empty_folder(checkout: Checkout) -> None:
    """A folder without source has no candidates."""
    result = checkout.find("anything")
    assert (result.files, result.symbols) == ((), ())
