"""Co-changes counted from real git repositories."""

from __future__ import annotations

from pathlib import Path

from cascade.evidence.terms import terms
from cascade.repository.commits import read_commits
from cascade.repository.git import parse_log
from cascade.repository.index_cache import IndexCache
from cascade.repository.listing import list_files
from cascade.repository.messages import Messages
from tests.helpers.checkout import Checkout

BODY = "".join(f"value_{line} = {line}\n" for line in range(40))  # enough for git to see a rename with an edit


def counted(checkout: Checkout, *seeds: str) -> dict[str, tuple[int, int]]:
    """Path -> co-changes and changes of the seeds."""
    found = checkout.find("nothing fits", *seeds).files
    return {record.path: (record.co_changes, record.seed_changes) for record in found if record.co_changes}


def test_commits_that_touch_both_are_counted(checkout: Checkout) -> None:
    """A file's count and the seed's own are told; tests and other files do not count."""
    checkout.init()
    for number in range(4):
        checkout.commit({"seed.py": f"a = {number}", "tests/test_seed.py": f"{number}", "notes.txt": f"{number}"})
    for number in range(3):
        checkout.commit({"seed.py": f"b = {number}", "often.py": f"{number}"})
    checkout.commit({"seed.py": "c = 1", "often.py": "c = 1", "once.py": ""}).commit({"never.py": ""})
    assert counted(checkout, "seed.py") == {"often.py": (4, 8), "once.py": (1, 8)}


def test_renamed_files_keep_their_past(checkout: Checkout) -> None:
    """Seed and partner are followed through renames, also twice and with an edit on the way."""
    checkout.init()
    for number in range(3):
        checkout.commit({"old.py": f"{BODY}a = {number}", "mate.py": f"{BODY}{BODY}b = {number}"})
    checkout.git("mv", "old.py", "middle.py")
    checkout.commit()
    (checkout.root / "new").mkdir()
    checkout.git("mv", "middle.py", "new/seed.py")
    checkout.git("mv", "mate.py", "new/mate.py")
    checkout.commit({"new/seed.py": f"{BODY}a = 9"})
    assert counted(checkout, "new/seed.py") == {"new/mate.py": (4, 5)}


def test_large_commits_say_nothing(checkout: Checkout) -> None:
    """A commit of more than 30 source files is left out altogether."""
    checkout.init().commit({f"m{number}.py": "" for number in range(31)})
    checkout.commit({"m1.py": "a = 1", "m2.py": "a = 1"})
    assert counted(checkout, "m1.py") == {"m2.py": (1, 1)}


def test_several_seeds_count_commits_of_any(checkout: Checkout) -> None:
    """A commit counts once however many seeds it touches."""
    checkout.init()
    checkout.commit({"a.py": "1", "x.py": "1"}).commit({"b.py": "1", "x.py": "2"})
    checkout.commit({"a.py": "3", "b.py": "3", "x.py": "3"})
    assert counted(checkout, "a.py", "b.py") == {"x.py": (3, 3)}


def test_branches_count_and_merges_do_not(checkout: Checkout) -> None:
    """Work on a merged branch counts once."""
    checkout.init().commit({"a.py": "1"})
    checkout.git("switch", "-q", "-c", "side")
    checkout.commit({"a.py": "2", "x.py": "2"})
    checkout.git("switch", "-q", "main")
    checkout.commit({"other.py": ""})
    checkout.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    assert counted(checkout, "a.py") == {"x.py": (1, 2)}


def test_partial_clone_is_read_without_network(checkout: Checkout) -> None:
    """Where old contents are missing, exact renames are still followed and nothing is fetched."""
    checkout.init().commit({"old.py": BODY, "mate.py": "1"}).commit({"old.py": f"{BODY}a = 1", "mate.py": "2"})
    checkout.git("mv", "old.py", "seed.py")
    checkout.commit().commit({"seed.py": f"{BODY}a = 2", "mate.py": "3"})
    checkout.git("config", "uploadpack.allowFilter", "true")
    checkout.git("clone", "-q", "--filter=blob:none", f"file://{checkout.root}", "../partial")
    partial = Checkout(checkout.root.parent / "partial")
    partial.git("remote", "set-url", "origin", "/nowhere")
    assert counted(partial, "seed.py") == {"mate.py": (3, 4)}


def test_configuration_of_the_repository_runs_nothing(checkout: Checkout) -> None:
    """Whatever a foreign repository configures git to start is not started."""
    trap = checkout.root / "trap.sh"
    checkout.init().commit({"a.py": "1", "x.py": "1", ".gitattributes": "*.py diff=trap filter=trap\n"})
    checkout.write({"trap.sh": f"#!/bin/sh\ntouch '{checkout.root}/sprung'\ncat\n"})
    trap.chmod(0o755)
    for key in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.trap.textconv",
        "diff.trap.command", "filter.trap.clean", "gpg.program", "pager.log",
    ):  # fmt: skip
        checkout.git("config", key, str(trap))
    checkout.git("config", "log.showSignature", "true")
    assert counted(checkout, "a.py") == {"x.py": (1, 1)}
    assert not (checkout.root / "sprung").exists()


def test_log_is_read_by_position() -> None:
    """A file may be called like a status letter."""
    log = b"\x01\0\nM\0A\0R100\0D\0M\0\x01\0\x01\0\nA\0x.py\0"
    first, _, last = [commit.changes for commit in parse_log(log)]
    assert [(one.status, one.old, one.new) for one in first] == [("M", "A", "A"), ("R", "D", "M")]
    assert [one.new for one in last] == ["x.py"]


def test_a_message_may_have_any_character(checkout: Checkout) -> None:
    """The mark that begins a commit of the log begins none within a message, whose coding is UTF-8."""
    checkout.init().commit({"a.py": "1"})
    checkout.write({"b.py": "2"}).git("add", "-A")
    checkout.git("config", "i18n.logOutputEncoding", "latin-1")
    checkout.git("commit", "-q", "-m", "größer \x01 M b.py")
    messages = Messages()
    last, first = read_commits(checkout.root, list_files(checkout.root, messages), IndexCache(None, messages), messages)
    assert [one.new for one in last.changes] == ["b.py"]
    assert [one.new for one in first.changes] == ["a.py"]
    assert last.words == tuple(terms("größer M b.py"))


def test_a_shallow_history_is_read_in_full_later(checkout: Checkout, tmp_path: Path) -> None:
    """What a shallow clone lacks is there once it is fetched, though the newest commit is the same."""
    checkout.init().commit({"a.py": "1", "x.py": "1"}).commit({"a.py": "2", "x.py": "2"})
    checkout.git("clone", "-q", "--depth=1", f"file://{checkout.root}", str(tmp_path / "shallow"))
    shallow = Checkout(tmp_path / "shallow")

    def n_commits() -> int:
        messages = Messages()
        cache = IndexCache(tmp_path / "cache", messages)
        return len(read_commits(shallow.root, list_files(shallow.root, messages), cache, messages))

    assert n_commits() == 1
    shallow.git("fetch", "-q", "--unshallow")
    assert n_commits() == n_commits() == 2
