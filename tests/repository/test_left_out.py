"""Nothing of a repository is left out without a word: each file is read, or counted under a reason."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from cascade.errors import InputError
from cascade.repository import reasons as reasons_module
from cascade.repository.exclusions import exclusion
from cascade.repository.find import Candidates, find_candidates
from cascade.repository.languages import READ_LANGUAGES, language_of
from cascade.repository.messages import LeftOut
from tests.helpers.checkout import Checkout

WIDGET = "def widget(): ...\n"


def reasons(result: Candidates) -> dict[str, LeftOut]:
    """What was left out, by reason."""
    return {one.reason: one for one in result.left_out}


def read(result: Candidates) -> set[str]:
    """The files whose symbols are candidates."""
    return {symbol.path for symbol in result.symbols}


@pytest.fixture
def checkout(checkout: Checkout) -> Checkout:
    """A repository with one file that is read."""
    return checkout.init().commit({"widget.py": WIDGET})


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("app/basket.rb", "Ruby"),
        ("SETUP.PY", "Python"),
        ("Main.java", "Java"),
        ("a/lib.rs", "Rust"),
        ("x.C", "C"),
        ("App.vue", "Vue"),
        ("README.md", ""),
        ("config.yaml", ""),
        ("page.html", ""),
        ("data.csv", ""),
        ("Makefile", ""),
        (".rb", ""),
    ],
)
def test_suffixes_tell_languages(path: str, language: str) -> None:
    """Source is known by its suffix in any case; configuration, markup and data are no source."""
    assert language_of(path) == language


def test_language_that_is_not_read_is_told(checkout: Checkout) -> None:
    """Files are counted by language, with their suffixes, and the line says what is read."""
    checkout.write({"lib/a.lua": "", "lib/b.lua": "", "run.SH": "", "README.md": "", "setup.cfg": ""})
    told = reasons(checkout.find("widget"))
    assert told["unread_language"].languages == {"Lua": 2, "Shell": 1}
    assert told["unread_language"].as_dict() == {
        "unit": "file",
        "count": 3,
        "examples": ["lib/a.lua", "lib/b.lua", "run.SH"],
        "languages": {"Lua": 2, "Shell": 1},
        "message": "3 files are in languages that are not read: Lua 2 (.lua), Shell 1 (.SH). "
        f"Read are {', '.join(READ_LANGUAGES[:-1])} and TypeScript.",
    }


def test_repository_without_anything_to_read(tmp_path: Path) -> None:
    """No candidates: the messages say why and what to do, and do not ask for seeds to no purpose."""
    only_lua = Checkout(tmp_path / "lua").init().commit({"lib/a.lua": "", "README.md": ""}).find("a")
    assert "1 file is in a language that is not read: Lua 1 (.lua)." in only_lua.messages[0]
    assert only_lua.messages[1].startswith("Nothing of this folder can be read: of its 2 files none is source")
    assert len(only_lua.messages) == 2
    empty = Checkout(tmp_path / "empty").find("a")
    assert empty.messages[-1].startswith("Nothing of this folder can be read: no file in it is source of its own in C,")
    assert "give items of your own" in empty.messages[-1]
    assert (empty.n_read, empty.files, empty.symbols) == (0, (), ())


def test_empty_results_say_why(checkout: Checkout) -> None:
    """Files without symbols, and a task without a word of the code, have answers of their own."""
    (checkout.root / "widget.py").unlink()
    checkout.write({f"plain{n}.py": "x = 1" for n in range(20)})
    nothing = checkout.find("unheard-of")
    assert (nothing.files, nothing.symbols) == ((), ())
    assert "define no function" in nothing.without_symbols()
    assert "nothing that was read has a word of the task" in nothing.without_files()
    plain = checkout.find("nothing", "plain1.py")
    assert "define no function" in plain.without_symbols()
    assert "no other file is tied to the seeds" in plain.without_files()
    broken = Checkout(checkout.root / "broken").write({"a.py": "(", "b.py": b"x = '\xff'"}).find("nothing")
    assert "none of the files that were read has symbols" in broken.without_symbols()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests/test_a.py", "test"),
        ("t/a.go", "test"),
        ("docs/conf.py", "tooling"),
        ("setup.py", "tooling"),
        ("vendor/a.rb", "vendored"),
        (".github/a.py", "hidden"),
        ("web/jquery.min.js", "minified"),
        ("web/a.swift", "unread_language"),
        ("src/A.PY", "unread_language"),
        ("src/a.py", None),
        ("tests/data.json", None),
    ],
)
def test_why_a_file_is_no_candidate(path: str, reason: str | None) -> None:
    """Every file with source that is no candidate has one reason."""
    found = exclusion(path)
    assert (found.key if found else None) == reason


def test_tests_and_vendored_code_are_counted(checkout: Checkout) -> None:
    """What is not the project's own source is counted; a seed is read whatever it is."""
    checkout.write({"tests/test_a.py": WIDGET, "tests/test_b.py": "", "vendor/a.py": "", ".ci/run": "", ".ci/a.py": ""})
    told = reasons(checkout.find("widget", "tests/test_a.py"))
    assert {key: one.count for key, one in told.items()} == {"test": 1, "vendored": 1, "hidden": 1}


def test_folders_that_are_not_walked_are_counted(tmp_path: Path) -> None:
    """Outside of git, folders are counted that are not entered; caches and .git are none."""
    plain = Checkout(tmp_path / "plain").write({
        "widget.py": WIDGET, ".hidden/a.py": "", "node_modules/a.js": "", "env/pyvenv.cfg": "", "env/a.py": "",
        "__pycache__/a.py": "", "build/a.py": "", "web/dist/a.js": "", "bin/serve.py": "",
    })  # fmt: skip
    told = reasons(plain.find("widget"))
    assert {key: one.examples for key, one in told.items()} == {
        "hidden_folder": (".hidden",),
        "vendored_folder": ("node_modules",),
        "environment": ("env",),
        "output_folder": ("build", "web/dist"),
    }


def test_scripts_without_a_suffix_are_counted(checkout: Checkout) -> None:
    """A program whose first line names an interpreter is told by it; other files without suffix are no source."""
    checkout.write({
        "bin/serve": "#!/usr/bin/env -S python3 -u\n", "bin/deploy": "#!/bin/bash -e\n",
        "LICENSE": "#!", "bin/blob": "\0",
    })  # fmt: skip
    for name in ("bin/serve", "bin/deploy", "bin/blob", "LICENSE"):
        (checkout.root / name).chmod(0o755)
    told = reasons(checkout.find("widget"))["script"]
    assert (
        told.message
        == "2 files are scripts without suffixes, which are not read: bin/deploy (bash), bin/serve (python3)"
    )


def test_every_reason_is_documented() -> None:
    """Keys are unique, and the page of the command line has each of them."""
    keys = [value.key for value in vars(reasons_module).values() if isinstance(value, reasons_module.Reason)]
    text = (Path(__file__).parents[2] / "cascade" / "cli" / "README.md").read_text(encoding="utf-8")
    assert len(set(keys)) == len(keys) > 20
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_every_source_is_read_or_counted(tmp_path: Path, seed: int) -> None:
    """In a tree of any kind, read and counted files together are all files whose language is known."""
    draw = Random(seed)
    tree = Checkout(tmp_path / "tree").init()
    folders = ["src", "tests", "vendor", ".ci", "docs", "build", "lib", "größe", "a\tb"]
    names = ["a.py", "b.go", "c.rb", "d.min.js", "e.md", "test_f.py", "G.PY", "h", "i\n.py", "j.json", "setup.py"]
    contents = [WIDGET, "", "\0", "x" * 600_001, "version https://git-lfs.github.com/spec/v1\n"]
    for number in range(120):
        if draw.random() < 0.05:
            Checkout(tree.root / "/".join(draw.choices(folders, k=2)) / f"repository{number}").init().commit()
        inner = [str(one.parent.relative_to(tree.root)) for one in tree.root.glob("*/*/repository*/.git")]
        folder = draw.choice(inner) if inner and draw.random() < 0.3 else "/".join(draw.choices(folders, k=2))
        tree.write({f"{folder}/{draw.choice(names)}": draw.choice(contents)})
    if draw.random() < 0.5:
        tree.git("add", "src", "lib")
    result = tree.find("widget")
    total = sum(bool(language_of(file.name)) for file in tree.root.rglob("*") if file.is_file())
    assert result.n_read + sum(one.count for one in result.left_out if one.unit == "file") == total


# Repositories within the repository.


@pytest.fixture
def helper(tmp_path: Path) -> Checkout:
    """Another repository, with a history in which two files change together."""
    other = Checkout(tmp_path / "helper").init()
    for number in range(3):
        other.commit({"widget_helper.py": f"def split_{number}(): ...", "mate.py": f"def mate_{number}(): ..."})
    return other


def add_submodule(checkout: Checkout, helper: Checkout, path: str = "libs/helper") -> None:
    """Adds a repository as a submodule."""
    checkout.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(helper.root), path)
    checkout.git("commit", "-q", "-m", "submodule")


def test_submodule_is_read(checkout: Checkout, helper: Checkout) -> None:
    """Files of a submodule are candidates, untracked ones too, and ignored ones are not."""
    add_submodule(checkout, helper)
    inner = Checkout(checkout.root / "libs/helper").write({"new.py": WIDGET, "ignored.py": WIDGET})
    inner.write({".gitignore": "ignored.py\n"})
    result = checkout.find("widget")
    assert read(result) == {"widget.py", *(f"libs/helper/{name}.py" for name in ("widget_helper", "mate", "new"))}
    assert not result.left_out


def test_submodule_that_is_not_checked_out_is_told(checkout: Checkout, helper: Checkout, tmp_path: Path) -> None:
    """The note names the command that fetches it, which works from any folder."""
    add_submodule(checkout, helper)
    checkout.git("clone", "-q", str(checkout.root), str(tmp_path / "a clone"))
    clone = Checkout(tmp_path / "a clone")
    told = reasons(clone.find("widget"))["submodule"]
    assert (told.count, told.unit, told.examples) == (1, "submodule", ("libs/helper",))
    assert told.message == (
        "1 submodule is not checked out: libs/helper. "
        f"`git -C '{clone.root}' submodule update --init --recursive` checks out those that .gitmodules names."
    )
    clone.git("-c", "protocol.file.allow=always", "submodule", "update", "--init", "--recursive")
    assert "libs/helper/mate.py" in read(clone.find("widget"))


def test_submodule_of_a_submodule_is_read(checkout: Checkout, helper: Checkout, tmp_path: Path) -> None:
    """Submodules are followed to any depth, each by its own git."""
    middle = Checkout(tmp_path / "middle").init().commit({"middle.py": WIDGET})
    add_submodule(middle, helper, "inner")
    add_submodule(checkout, middle, "middle")
    clone = Checkout(checkout.root / "middle")
    assert "middle/inner" in reasons(checkout.find("widget"))["submodule"].examples
    clone.git("-c", "protocol.file.allow=always", "submodule", "update", "--init")
    assert {"middle/middle.py", "middle/inner/mate.py"} <= read(checkout.find("widget"))


def test_history_of_a_submodule_counts_for_its_seeds(checkout: Checkout, helper: Checkout) -> None:
    """Co-changes of a seed are counted in the repository that it lies in."""
    add_submodule(checkout, helper)
    for number in range(2):
        checkout.commit({"widget.py": f"{WIDGET}# {number}", "view.py": f"x = {number}"})
    seeds = ("libs/helper/widget_helper.py", "widget.py")
    for chosen, changes in ((seeds[:1], 3), (seeds[1:], 3), (seeds, 6)):
        result = checkout.find("nothing", *chosen)
        counted = {record.path: record.co_changes for record in result.files}
        expected = {"libs/helper/mate.py": 3} if seeds[0] in chosen else {}
        assert counted == expected | ({"view.py": 2} if seeds[1] in chosen else {})
        assert {record.seed_changes for record in result.files} == {changes}


def test_nested_repository_is_read(checkout: Checkout) -> None:
    """A repository that git does not track is listed by its own git, with and without commits."""
    Checkout(checkout.root / "nested").init().commit({"inner.py": WIDGET})
    Checkout(checkout.root / "nested/deeper").init().write({"deep.py": WIDGET})
    result = checkout.find("widget")
    assert read(result) == {"widget.py", "nested/inner.py", "nested/deeper/deep.py"}
    assert not result.left_out


def test_folder_of_repositories_is_read(tmp_path: Path) -> None:
    """In a folder that is no repository, each that lies in it is listed by git, ignored files left out."""
    Checkout(tmp_path / "all/one").init().commit({".gitignore": "build.py", "one.py": WIDGET, "build.py": WIDGET})
    two = Checkout(tmp_path / "all/two").init()
    for number in range(2):
        two.commit({"a.py": f"x = {number}", "b.py": f"y = {number}"})
    everything = Checkout(tmp_path / "all").write({"loose.py": WIDGET})
    assert read(everything.find("widget")) == {"one/one.py", "loose.py"}
    assert [(one.path, one.co_changes) for one in everything.find("nothing", "two/a.py").files] == [("two/b.py", 2)]


def test_work_tree_within_is_counted(checkout: Checkout) -> None:
    """A second work tree holds other versions of the same files, which would be candidates twice."""
    checkout.git("worktree", "add", "-q", "trees/feature", "-b", "feature")
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    assert reasons(result)["work_tree"].examples == ("trees/feature",)


def test_root_may_be_a_work_tree_or_a_submodule(checkout: Checkout, helper: Checkout, tmp_path: Path) -> None:
    """Where .git is a file, git lists all the same and has the history."""
    add_submodule(checkout, helper)
    checkout.git("worktree", "add", "-q", str(tmp_path / "tree"))
    tree = Checkout(tmp_path / "tree").find("nothing", "widget.py")
    assert read(tree) == {"widget.py"}
    assert "submodule" in reasons(tree)
    inner = find_candidates(checkout.root / "libs/helper", "nothing", ["mate.py"], cache=None)
    assert [(record.path, record.co_changes) for record in inner.files] == [("widget_helper.py", 3)]
    assert not inner.messages


def test_bare_repository_is_told(checkout: Checkout, tmp_path: Path) -> None:
    """A repository without a work tree has no files, and its own are not read."""
    checkout.git("clone", "-q", "--bare", str(checkout.root), str(tmp_path / "bare"))
    result = find_candidates(tmp_path / "bare", "widget", cache=None)
    assert result.messages[0].startswith("The folder is a bare git repository")
    assert result.n_read == 0


def test_git_directory_of_the_environment_is_not_used(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook's GIT_DIR and GIT_INDEX_FILE are of another repository."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    result = checkout.find("widget", "widget.py")
    assert read(result) == {"widget.py"}
    assert not result.messages


def test_repository_of_another_user_is_walked(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where git refuses, the folder is walked, and the note has the command that allows it."""
    git = tmp_path / "bin/git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n')
    git.chmod(0o755)
    Checkout(checkout.root / "nested").init().commit({"inner.py": WIDGET})
    monkeypatch.setenv("PATH", str(git.parent), prepend=os.pathsep)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    result = checkout.find("widget")
    assert read(result) == {"widget.py", "nested/inner.py"}
    assert "dubious ownership" in result.messages[0]
    place = shlex.quote(str(checkout.root))
    assert f"`git config --global --add safe.directory {place}` allows it" in result.messages[0]
    assert reasons(result)["without_git"].examples == ("nested",)


def test_work_tree_elsewhere_is_not_listed(checkout: Checkout, tmp_path: Path) -> None:
    """A repository cannot name another folder as its work tree to have that one's files listed."""
    Checkout(tmp_path / "private").write({"secret.py": WIDGET})
    checkout.git("config", "core.worktree", str(tmp_path / "private"))
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    assert "not in the repository's work tree" in result.messages[0]
    assert "secret" not in "".join(result.messages)


def test_damaged_repository_within_is_walked(checkout: Checkout) -> None:
    """A nested .git that leads nowhere costs that folder its history, not its files."""
    add_to = Checkout(checkout.root / "nested").init().commit({"inner.py": WIDGET})
    shutil.rmtree(add_to.root / ".git/refs")
    assert read(checkout.find("widget")) == {"widget.py", "nested/inner.py"}


# Links.


@pytest.mark.parametrize("is_git", [True, False])
def test_links_that_lead_out_are_counted(checkout: Checkout, tmp_path: Path, is_git: bool) -> None:  # noqa: FBT001
    """Nothing outside of the folder is read; a link to data is no matter."""
    outside = Checkout(tmp_path / "outside").write({"tools/secret.py": WIDGET, "notes.md": ""})
    links = {
        "tools": "tools",
        "all": "",
        "secret.py": "tools/secret.py",
        "notes.md": "notes.md",
        "run": "tools/secret.py",
    }
    (checkout.root / "src").mkdir()
    for name, target in links.items():
        (checkout.root / "src" / name).symlink_to(outside.root / target)
    if is_git:
        checkout.commit()
    else:
        shutil.rmtree(checkout.root / ".git")
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    told = reasons(result)["link"]
    assert told.count == 4
    assert told.message == (
        "4 links are not followed: src/all (leads out of the folder), src/run (leads out of the folder), "
        "src/secret.py (leads out of the folder), ... "
        "To read what lies outside of the folder, give a folder that holds it as well."
    )


@pytest.mark.parametrize("is_git", [True, False])
def test_links_within_are_the_same_files(checkout: Checkout, is_git: bool) -> None:  # noqa: FBT001
    """What a link within the folder leads to is read once, under its own name; loops end."""
    checkout.write({"shared/tools/fields.py": WIDGET, ".gitignore": "out/\n", "out/made.py": WIDGET})
    (checkout.root / "src").mkdir()
    for name, target in {"tools": "../shared/tools", "up": "..", "fields.py": "../shared/tools/fields.py"}.items():
        (checkout.root / "src" / name).symlink_to(target)
    (checkout.root / "loop.py").symlink_to("loop.py")
    (checkout.root / "gone.py").symlink_to("nowhere.py")
    (checkout.root / "gone").symlink_to("nowhere")
    (checkout.root / "made").symlink_to("out")
    if is_git:
        checkout.commit()
    else:
        shutil.rmtree(checkout.root / ".git")
    result = checkout.find("widget")
    assert read(result) == {"widget.py", "shared/tools/fields.py", *([] if is_git else ["out/made.py"])}
    left = ("gone.py", "loop.py", "made") if is_git else ("gone.py", "loop.py")
    assert reasons(result)["link"].examples == left
    assert "gone.py (leads nowhere)" in reasons(result)["link"].message


def test_folder_that_was_replaced_by_a_link_is_not_entered(checkout: Checkout, tmp_path: Path) -> None:
    """Git still lists what it tracks below it, and reading that would read what lies elsewhere."""
    checkout.commit({"src/deep/tool.py": WIDGET, "src/other.py": WIDGET})
    outside = Checkout(tmp_path / "outside").write({"deep/tool.py": "def secret(): ...", "other.py": "def key(): ..."})
    shutil.rmtree(checkout.root / "src")
    (checkout.root / "src").symlink_to(outside.root)
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    assert reasons(result)["link"].examples == ("src",)


def test_submodule_that_was_replaced_by_a_link_is_not_entered(
    checkout: Checkout, helper: Checkout, tmp_path: Path
) -> None:
    """A submodule's folder may be a link to a repository elsewhere."""
    add_submodule(checkout, helper)
    shutil.move(checkout.root / "libs/helper", tmp_path / "moved")
    (checkout.root / "libs/helper").symlink_to(tmp_path / "moved")
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    assert reasons(result)["link"].examples == ("libs/helper",)


# Files that are listed and cannot be read.


def test_sparse_checkout_is_told(checkout: Checkout) -> None:
    """Files that are not checked out are counted apart from those that were deleted."""
    checkout.commit({"app/a.py": WIDGET, "lib/b.py": "", "lib/c.py": ""})
    checkout.git("sparse-checkout", "set", "app")
    (checkout.root / "widget.py").unlink()
    result = checkout.find("widget")
    assert read(result) == {"app/a.py"}
    assert reasons(result)["sparse"].examples == ("lib/b.py", "lib/c.py")
    assert reasons(result)["deleted"].examples == ("widget.py",)


def test_pipes_are_not_waited_for(checkout: Checkout) -> None:
    """A pipe, or a folder, in a file's place is told and not opened."""
    checkout.commit({"pipe.py": "", "folder.py": ""})
    for name in ("pipe.py", "folder.py"):
        (checkout.root / name).unlink()
    os.mkfifo(checkout.root / "pipe.py")
    (checkout.root / "folder.py").mkdir()
    assert reasons(checkout.find("widget"))["special"].examples == ("folder.py", "pipe.py")
    shutil.rmtree(checkout.root / ".git")
    assert reasons(checkout.find("widget"))["special"].examples == ("pipe.py",)
    with pytest.raises(InputError, match=r"'pipe.py' is no regular file"):
        checkout.find("widget", "pipe.py")


def test_pointers_of_lfs_are_told(checkout: Checkout) -> None:
    """A pointer is not taken for broken source."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    result = checkout.commit({"model.py": pointer, "empty.py": ""}).find("widget")
    assert reasons(result)["lfs_pointer"].examples == ("model.py",)
    assert len(result.left_out) == 1


def test_names_that_differ_in_case_are_two_files(checkout: Checkout) -> None:
    """Both are read where they are two, and one where the system holds them for the same."""
    checkout.write({"a/Widget.py": "def one(): ...", "a/widget.py": "def two(): ..."})
    (checkout.root / "same.py").write_text(WIDGET)
    (checkout.root / "SAME.py").hardlink_to(checkout.root / "same.py")
    (checkout.root / "other.py").hardlink_to(checkout.root / "same.py")
    result = checkout.find("widget")
    assert read(result) == {"a/Widget.py", "a/widget.py", "SAME.py", "other.py", "widget.py"}
    assert reasons(result)["same_file"].examples == ("same.py",)


@pytest.mark.parametrize("is_git", [True, False])
def test_folder_without_permission_is_told(checkout: Checkout, is_git: bool) -> None:  # noqa: FBT001
    """A folder in the middle that may not be read costs its own files."""
    checkout.write({"open/a.py": WIDGET, "shut/b.py": WIDGET})
    if not is_git:
        shutil.rmtree(checkout.root / ".git")
    shut = checkout.root / "shut"
    shut.chmod(0)
    try:
        if os.access(shut, os.R_OK):
            pytest.skip("permissions do not count for this user")
        result = checkout.find("widget")
    finally:
        shut.chmod(stat.S_IRWXU)
    assert read(result) == {"widget.py", "open/a.py"}
    assert reasons(result)["unreadable_folder"].message == "1 folder cannot be read: shut (Permission denied)"


def test_tracked_files_without_permission_are_told(checkout: Checkout) -> None:
    """A file that may not be read, and one in a folder that may not be searched, are counted."""
    checkout.commit({"shut/b.py": WIDGET, "c.py": WIDGET})
    (checkout.root / "shut").chmod(0)
    (checkout.root / "c.py").chmod(0)
    try:
        if os.access(checkout.root / "c.py", os.R_OK):
            pytest.skip("permissions do not count for this user")
        result = checkout.find("widget")
    finally:
        (checkout.root / "shut").chmod(stat.S_IRWXU)
    assert read(result) == {"widget.py"}
    assert reasons(result)["unreadable"].examples == ("shut/b.py", "c.py")


@pytest.fixture
def deep() -> Iterator[Checkout]:
    """Folders nested 1,450 deep, outside of pytest's own, which pytest could not remove."""
    root = Path(tempfile.mkdtemp())
    at = os.open(root, os.O_RDONLY)
    for _ in range(1_450):
        os.mkdir("dd", dir_fd=at)
        inner = os.open("dd", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    yield Checkout(root).write({"widget.py": WIDGET, "/".join(["dd"] * 1_100 + ["deep.py"]): WIDGET})
    subprocess.run(["rm", "-rf", str(root)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("is_git", [True, False])
def test_folders_deeper_than_paths_may_be_are_told(deep: Checkout, is_git: bool) -> None:  # noqa: FBT001
    """Folders nest deeper than Python recurses and than a path may be long; what can be reached is read."""
    if is_git:
        deep.init()
    result = deep.find("widget")
    assert {path.count("/") for path in read(result)} == {0, 1_100}
    assert reasons(result)["unreadable_folder"].count == 1
    assert all(len(message) < 700 for message in result.messages)


def test_many_files_are_listed(tmp_path: Path) -> None:
    """The list of a large folder is counted in full, and the messages stay short."""
    large = Checkout(tmp_path / "large").init()
    large.write({f"part{n % 40}/widget_{n}.lua": "" for n in range(1_000)} | {"widget.py": WIDGET})
    result = large.find("widget")
    assert reasons(result)["unread_language"].count == 1_000
    assert all(len(message) < 300 for message in result.messages)


@pytest.mark.parametrize("name", [os.fsdecode(b"w\xff.py"), "w\n.py", "w\x1b[31m.py"])
def test_examples_are_printable(checkout: Checkout, name: str) -> None:
    """Names that no terminal and no JSON should carry are shown escaped."""
    checkout.write({name: ""})
    result = checkout.find("widget")
    told = reasons(result)["name"]
    assert told.count == 1
    assert told.examples[0].isascii()
    assert all(text.isprintable() for text in (*told.examples, *result.messages))
    with pytest.raises(InputError, match="rename it"):
        checkout.find("widget", name)


def test_root_may_have_any_name(tmp_path: Path) -> None:
    """Messages that name the root are printable too, and keep what can be printed."""
    root = Checkout(tmp_path / os.fsdecode(b"gr\xc3\xb6\xdfe\n")).init().commit({"a.py": WIDGET})
    root.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib")
    result = root.find("widget")
    assert read(result) == {"a.py"}
    assert "gr\u00f6\\udcdfe\\n" in reasons(result)["submodule"].message


def test_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative root cannot be found where the working directory was removed."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="give an absolute path"):
        find_candidates(Path(), "widget", cache=None)


def test_without_git_the_folder_is_walked(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git need not be installed."""
    monkeypatch.setenv("PATH", "/nowhere")
    result = checkout.find("widget")
    assert read(result) == {"widget.py"}
    assert "git could not be started" in result.messages[0]
