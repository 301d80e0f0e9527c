"""Earlier commits: which files belong together, and what was said about them."""

from __future__ import annotations

import pytest

from cascade.evidence.history import Change, Commit, History
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.terms import terms


def commit(message: str, *paths: str, renamed: dict[str, str] | None = None, deleted: tuple[str, ...] = ()) -> Commit:
    """A commit that changed, renamed and deleted files."""
    changes = (
        *(Change("M", path, path) for path in paths),
        *(Change("R", old, new) for old, new in (renamed or {}).items()),
        *(Change("D", path, path) for path in deleted),
    )
    return Commit(tuple(terms(message)), changes)


def test_a_renamed_file_keeps_its_past() -> None:
    """Through two renames, newest commit first; files that are gone are no part of it."""
    commits = [
        commit("now", "new.py", "mate.py"),
        commit("second", renamed={"middle.py": "new.py"}),
        commit("between", "middle.py", "gone.py"),
        commit("first", renamed={"old.py": "middle.py"}),
        commit("past", "old.py", "mate.py"),
    ]
    found = History.of(commits, {"new.py", "mate.py"})
    assert found.together({"new.py"}).counts == {"mate.py": 2}
    assert found.together({"new.py"}).seed_changes == 5
    assert found.together({"mate.py"}).counts == {"new.py": 2}


def test_files_that_swap_names_swap_their_past() -> None:
    """Renames of one commit apply at once."""
    commits = [commit("swap", renamed={"a.py": "b.py", "b.py": "a.py"}), commit("past", "a.py", "x.py")]
    assert History.of(commits, {"a.py", "b.py", "x.py"}).together({"b.py"}).counts == {"a.py": 1, "x.py": 1}


def test_a_name_that_was_used_before_is_another_file() -> None:
    """What was deleted under a name does not count as changed then."""
    commits = [commit("delete", "a.py", deleted=("b.py",)), commit("past", "a.py", "b.py")]
    assert History.of(commits, {"a.py", "b.py"}).together({"a.py"}).counts == {"b.py": 1}


def test_large_commits_say_nothing_of_what_belongs_together() -> None:
    """More than thirty files of those that are there; of others there may be any number."""
    paths = [f"m{at}.py" for at in range(31)]
    commits = [commit("all", *paths), commit("most", *paths[:30], *(f"gone{at}.py" for at in range(99)))]
    found = History.of(commits, set(paths)).together({"m0.py"})
    assert (found.seed_changes, set(found.counts.values())) == (1, {1})
    assert "m30.py" not in found.counts


def test_commits_that_match_lend_their_score_to_their_files() -> None:
    """The square of a share of the best, over the root of how many files there are; others have none."""
    commits = [
        commit("redirect after login", "a.py"),
        commit("redirect after login", "b.py", "c.py", "d.py", "e.py"),
        commit("unrelated words here", "f.py"),
        *(commit(f"filler number{at}", "g.py") for at in range(9)),
    ]
    found = History.of(commits, {f"{name}.py" for name in "abcdefg"}).matches(TaskTerms("the login redirects"))
    assert set(found) == {"a.py", "b.py", "c.py", "d.py", "e.py"}
    assert found["a.py"] == pytest.approx(1.0)
    assert found["b.py"] == pytest.approx(0.5)


def test_messages_of_large_commits_mean_no_file() -> None:
    """More than fifteen files are changed for many reasons."""
    paths = [f"m{at}.py" for at in range(16)]
    commits = [commit("redirect", *paths), commit("other", "m0.py")]
    assert History.of(commits, set(paths)).matches(TaskTerms("redirect")) == {}
    assert set(History.of(commits, set(paths[:15])).matches(TaskTerms("redirect"))) == set(paths[:15])


@pytest.mark.parametrize("commits", [[], [Commit()], [commit("redirect")]])
def test_a_history_of_nothing_says_nothing(commits: list[Commit]) -> None:
    """No commits, empty ones, and ones without files."""
    found = History.of(commits, {"a.py"})
    assert (found.matches(TaskTerms("redirect")), found.recency(), found.paths) == ({}, {}, ())
    assert found.together({"a.py"}).counts == {}
    assert History.of([commit("redirect", "a.py")], {"a.py"}).matches(TaskTerms("")) == {}


def test_late_changes_count_more() -> None:
    """A change fades with the commits after it, and ends to count after a thousand."""
    commits = [commit("x", "new.py"), *[commit("x")] * 299, commit("x", "old.py"), *[commit("x")] * 900]
    found = History.of([*commits, commit("x", "past.py")], {"new.py", "old.py", "past.py"}).recency()
    assert found == {"new.py": pytest.approx(1.0), "old.py": pytest.approx(0.3679, abs=1e-4)}
