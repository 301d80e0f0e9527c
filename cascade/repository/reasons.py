"""Why a file, folder or link of a repository is left out, or read in part. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.repository.languages import READ_LANGUAGES

MAX_BYTES = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is left out.

    Attributes:
        key: Its name in JSON, which stays the same from version to version.
        one: What is said of a single one, after the count and the unit.
        many: The same of several.
        unit: What is counted, in the singular.
        advice: What to do about it, in a sentence; may be empty.
        is_by_language: Whether languages are shown in place of paths.
    """

    key: str
    one: str
    many: str
    unit: str = "file"
    advice: str = ""
    is_by_language: bool = False

    def counted(self, n: int) -> str:
        """The sentence for a number of them, at least 1."""
        units = f"{self.unit.removesuffix('y')}ies" if self.unit.endswith("y") else f"{self.unit}s"
        return f"1 {self.unit} {self.one}" if n == 1 else f"{n} {units} {self.many}"


def _is(key: str, text: str, plural: str = "", *, unit: str = "file", advice: str = "") -> Reason:
    return Reason(key=key, one=f"is {text}", many=f"are {plural or text}", unit=unit, advice=advice)


def _has_no_symbols(key: str, cause: str, causes: str, *, is_by_language: bool = False) -> Reason:
    one, many = f"has no symbols, because {cause}", f"have no symbols, because {causes}"
    return Reason(key=key, one=one, many=many, is_by_language=is_by_language)


# What is source, but of another language, or not of the project itself.
UNREAD_LANGUAGE = Reason(
    key="unread_language",
    one="is in a language that is not read",
    many="are in languages that are not read",
    advice=f"Read are {', '.join(READ_LANGUAGES[:-1])} and {READ_LANGUAGES[-1]}.",
    is_by_language=True,
)
SCRIPT = _is("script", "a script without a suffix, which is not read", "scripts without suffixes, which are not read")
TEST = _is("test", "left out as a test", "left out as tests", advice="`--also tests` reads them.")
TOOLING = _is(
    "tooling", "left out as part of the build or the documentation", advice="`--also docs` reads what is code in them."
)
VENDORED = _is("vendored", "left out as vendored code")
HIDDEN = _is("hidden", "left out as hidden")
GENERATED = _is("generated", "left out as generated code", advice="`--also generated` reads it.")
MINIFIED = _is("minified", "left out as minified code")

# Folders that are not entered.
ENVIRONMENT = _is("environment", "left out as a virtual environment", "left out as virtual environments", unit="folder")
VENDORED_FOLDER = _is("vendored_folder", "left out as vendored code", unit="folder")
OUTPUT_FOLDER = _is("output_folder", "left out as the output of a build", unit="folder")
HIDDEN_FOLDER = _is("hidden_folder", "left out as hidden", unit="folder")
UNREADABLE_FOLDER = Reason(key="unreadable_folder", one="cannot be read", many="cannot be read", unit="folder")

# Repositories within the repository.
SUBMODULE = _is("submodule", "not checked out", unit="submodule")
WORK_TREE = _is(
    "work_tree", "left out as another work tree of a repository that is read",
    "left out as other work trees of repositories that are read", unit="folder",
)  # fmt: skip
WITHOUT_GIT = _is("without_git", "read without git and has no co-change tier", unit="repository")

# Files that are listed and have nothing to read.
LINK = Reason(key="link", one="is not followed", many="are not followed", unit="link")
SAME_FILE = _is("same_file", "read under another name, which differs in case only", unit="file")
DELETED = _is("deleted", "listed by git and not there", unit="file")
SPARSE = _is(
    "sparse", "outside the sparse checkout", unit="file", advice="`git sparse-checkout add FOLDER` checks a folder out."
)
SPECIAL = _is("special", "no regular file", "no regular files")
NAME = Reason(
    key="name",
    one="is left out, because its name is not UTF-8 or has control characters",
    many="are left out, because their names are not UTF-8 or have control characters",
)
TOO_LARGE = _is("too_large", f"left out as larger than {MAX_BYTES // 1000} kB")
BINARY = _is("binary", "left out as binary")
LFS_POINTER = _is(
    "lfs_pointer", "a pointer of Git LFS without its content", "pointers of Git LFS without their contents",
    advice="`git lfs pull` fetches them.",
)  # fmt: skip
UNREADABLE = Reason(key="unreadable", one="cannot be read", many="cannot be read")

# Files that are candidates, but without symbols.
NO_GRAMMAR = _has_no_symbols(
    "no_grammar", "the grammar of its language is not installed", "the grammars of their languages are not installed",
    is_by_language=True,
)  # fmt: skip
BROKEN_GRAMMAR = _has_no_symbols(
    "broken_grammar", "the grammar of its language cannot be loaded",
    "the grammars of their languages cannot be loaded", is_by_language=True,
)  # fmt: skip
NOT_UTF8 = _has_no_symbols(
    "not_utf8", "it is not UTF-8 and declares no other coding", "they are not UTF-8 and declare no other coding"
)
NOT_PYTHON = _has_no_symbols("not_python", "it does not parse as Python", "they do not parse as Python")
SLOW_SOURCE = _has_no_symbols("slow_source", "it takes too long to parse", "they take too long to parse")
NO_READER = _has_no_symbols("no_reader", "its language is not read", "their languages are not read")
WITHOUT_SYMBOLS = frozenset(
    reason.key for reason in (NO_GRAMMAR, BROKEN_GRAMMAR, NOT_UTF8, NOT_PYTHON, SLOW_SOURCE, NO_READER)
)
