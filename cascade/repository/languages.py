"""Languages other than Python: which grammar reads which suffix, loaded only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from cascade.machine import install_again, install_extra
from cascade.repository.outline import one_line

_SUFFIXES = {
    "ABAP": ".abap",
    "ActionScript": ".as",
    "Ada": ".adb .ads .ada",
    "Agda": ".agda",
    "ANTLR": ".g4",
    "Apex": ".apex .trigger",
    "AppleScript": ".applescript",
    "ASP.NET": ".aspx .ascx .asax",
    "Assembly": ".asm .nasm .s",
    "Astro": ".astro",
    "AutoHotkey": ".ahk",
    "AutoIt": ".au3",
    "Awk": ".awk .gawk .mawk",
    "Ballerina": ".bal",
    "BASIC": ".bas",
    "Batchfile": ".bat .cmd",
    "Bicep": ".bicep",
    "Brightscript": ".brs",
    "C": ".c .h",
    "C#": ".cs .csx",
    "C++": ".cpp .cc .cxx .c++ .cppm .hpp .hh .hxx .h++ .inl .ino .ipp .ixx .tcc .tpp .txx",
    "Cadence": ".cdc",
    "Cairo": ".cairo",
    "Chapel": ".chpl",
    "Classic ASP": ".asp",
    "Clojure": ".clj .cljs .cljc",
    "COBOL": ".cob .cbl .cobol .cpy",
    "CodeQL": ".ql .qll",
    "CoffeeScript": ".coffee .cjsx .litcoffee",
    "ColdFusion": ".cfm .cfc .cfml",
    "Common Lisp": ".lisp .lsp .asd",
    "Crystal": ".cr",
    "CUDA": ".cu .cuh",
    "Cython": ".pyx .pxd .pxi",
    "D": ".d .di",
    "Dart": ".dart",
    "Elixir": ".ex .exs",
    "Elm": ".elm",
    "Emacs Lisp": ".el",
    "Erlang": ".erl .hrl .escript",
    "F#": ".fs .fsi .fsx",
    "Fennel": ".fnl",
    "fish": ".fish",
    "Forth": ".fth .4th .forth",
    "Fortran": ".f .f77 .for .f90 .f95 .f03 .f08",
    "GDScript": ".gd",
    "Gleam": ".gleam",
    "Glimmer": ".gjs .gts",
    "GLSL": ".glsl .vert .frag .geom .tesc .tese",
    "Go": ".go",
    "Groovy": ".groovy .gvy",
    "Hack": ".hack .hhi",
    "Haskell": ".hs .lhs .hsc",
    "Haxe": ".hx",
    "HCL": ".hcl .tf .tofu",
    "HIP": ".hip",
    "HLSL": ".hlsl .fx .hlsli",
    "Hy": ".hy",
    "Idris": ".idr .lidr",
    "Isabelle": ".thy",
    "ISPC": ".ispc",
    "Janet": ".janet",
    "Java": ".java",
    "Java Server Pages": ".jsp",
    "JavaScript": ".js .jsx .mjs .cjs .es6 .jsm",
    "Jsonnet": ".jsonnet .libsonnet",
    "Julia": ".jl",
    "Jupyter Notebook": ".ipynb",
    "Kotlin": ".kt .kts",
    "Lean": ".lean",
    "Lex": ".l .lex",
    "LiveScript": ".ls",
    "Lua": ".lua .luau",
    "MATLAB": ".matlab",
    "Metal": ".metal",
    "Mojo": ".mojo",
    "MoonBit": ".mbt",
    "MoonScript": ".moon",
    "Move": ".move",
    "Nextflow": ".nf",
    "Nim": ".nim .nims",
    "Nix": ".nix",
    "Noir": ".nr",
    "NSIS": ".nsi .nsh",
    "Nushell": ".nu",
    "Objective-C": ".m",
    "Objective-C++": ".mm",
    "OCaml": ".ml .mli .mll .mly",
    "Odin": ".odin",
    "OpenCL": ".cl .opencl",
    "OpenSCAD": ".scad",
    "Papyrus": ".psc",
    "Pascal": ".pas .dpr .lpr .pascal",
    "Pawn": ".pwn",
    "Perl": ".pl .pm .t .perl .psgi",
    "PHP": ".php .phtml .php3 .php4 .php5 .phpt",
    "PLpgSQL": ".pgsql",
    "PLSQL": ".plsql .pkb .pks .pls",
    "Pony": ".pony",
    "PowerShell": ".ps1 .psm1",
    "Processing": ".pde",
    "Prolog": ".prolog",
    "Puppet": ".pp",
    "PureScript": ".purs",
    "Python": ".py .pyw .py3 .wsgi .xpy",
    "Python stub": ".pyi",
    "QML": ".qml",
    "R": ".r",
    "Racket": ".rkt .rktl",
    "Raku": ".raku .rakumod .pm6 .p6",
    "Razor": ".cshtml .razor",
    "Reason": ".re .rei",
    "Rego": ".rego",
    "Ren'Py": ".rpy",
    "ReScript": ".res .resi",
    "REXX": ".rexx .rex",
    "Ring": ".ring",
    "RobotFramework": ".robot",
    "Roc": ".roc",
    "Rocq Prover": ".coq",
    "Ruby": ".rb .rake .ru .rbi .rbw",
    "Rust": ".rs",
    "Sage": ".sage",
    "SAS": ".sas",
    "Scala": ".scala .sc",
    "Scheme": ".scm .ss .sld",
    "ShaderLab": ".shader",
    "Shell": ".sh .bash .zsh .ksh .bats",
    "Smali": ".smali",
    "Smalltalk": ".st",
    "Snakemake": ".smk",
    "Solidity": ".sol",
    "SourcePawn": ".sp",
    "Squirrel": ".nut",
    "Stan": ".stan",
    "Standard ML": ".sml",
    "Starlark": ".bzl .star",
    "Stata": ".do .ado .mata",
    "Svelte": ".svelte",
    "Swift": ".swift",
    "SWIG": ".swg .swig",
    "SystemVerilog": ".sv .svh",
    "Tcl": ".tcl",
    "Tcsh": ".tcsh .csh",
    "Teal": ".tl",
    "Thrift": ".thrift",
    "TLA": ".tla",
    "TypeScript": ".ts .tsx .mts .cts",
    "UnrealScript": ".uc",
    "Vala": ".vala .vapi",
    "VBScript": ".vbs",
    "Verilog": ".v",
    "VHDL": ".vhd .vhdl",
    "Vim script": ".vim",
    "Visual Basic": ".vb .vba",
    "Vue": ".vue",
    "Vyper": ".vy",
    "WebAssembly": ".wat .wast",
    "WGSL": ".wgsl",
    "Wolfram Language": ".wl .wls",
    "Wren": ".wren",
    "Xonsh": ".xsh",
    "XQuery": ".xq .xquery",
    "XS": ".xs",
    "Yacc": ".y .yacc",
    "Zeek": ".zeek",
    "Zig": ".zig",
}
_NAMES = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def suffix_of(path: str) -> str:
    """The suffix of a path with its dot, as it is written; empty where there is none."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def language_of(path: str) -> str:
    """The language that a path's suffix tells, in whichever case it is written; empty for what is no source."""
    return _NAMES.get(suffix_of(path).lower(), "")


PYTHON = ".py"
_EXTRA = "languages"
_BINDING = "tree_sitter"


class Point(Protocol):
    """A place in a source file."""

    @property
    def row(self) -> int:
        """Line, from 0."""


class SyntaxNode(Protocol):
    """What this package uses of ``tree_sitter.Node``."""

    @property
    def type(self) -> str:
        """The grammar's word for this node."""

    @property
    def start_byte(self) -> int:
        """Offset of its first byte."""

    @property
    def end_byte(self) -> int:
        """Offset after its last byte."""

    @property
    def start_point(self) -> Point:
        """Where it starts."""

    @property
    def end_point(self) -> Point:
        """Where it ends."""

    @property
    def named_children(self) -> Sequence[SyntaxNode]:
        """Children without punctuation."""

    @property
    def prev_named_sibling(self) -> SyntaxNode | None:
        """The node before it under the same parent."""

    def child_by_field_name(self, name: str, /) -> SyntaxNode | None:
        """The child that has a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Where a grammar comes from.

    Attributes:
        wheel: The module of its wheel.
        function: The function of that module which returns the language.
    """

    wheel: str
    function: str = "language"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a grammar cannot be used.

    Attributes:
        is_missing: Whether its wheel, or tree-sitter itself, is not installed.
        detail: What went wrong, in one line; empty where it is missing.
        remedy: The shell command that mends it.
    """

    is_missing: bool
    detail: str
    remedy: str


_C = Grammar(wheel="tree_sitter_c")
_GO = Grammar(wheel="tree_sitter_go")
_JAVASCRIPT = Grammar(wheel="tree_sitter_javascript")
_TYPESCRIPT = Grammar(wheel="tree_sitter_typescript", function="language_typescript")
_TSX = Grammar(wheel="tree_sitter_typescript", function="language_tsx")
SCRIPTS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
_GRAMMARS = {
    ".c": _C, ".h": _C, ".go": _GO,
    ".js": _JAVASCRIPT, ".jsx": _JAVASCRIPT, ".mjs": _JAVASCRIPT, ".cjs": _JAVASCRIPT,
    ".ts": _TYPESCRIPT, ".mts": _TYPESCRIPT, ".cts": _TYPESCRIPT, ".tsx": _TSX,
}  # fmt: skip
SUFFIXES = frozenset({PYTHON, *_GRAMMARS})
READ_LANGUAGES: tuple[str, ...] = tuple(sorted({language_of(f"a{suffix}") for suffix in SUFFIXES}))


def syntax_tree(suffix: str, source: bytes) -> SyntaxNode | None:
    """The root of a file's syntax tree; None when the grammar of its suffix cannot be used."""
    parser = _parser(_GRAMMARS[suffix])
    if isinstance(parser, Fault):
        return None
    root: SyntaxNode = parser.parse(source).root_node
    return root


def grammar_fault(suffix: str) -> Fault | None:
    """Why the grammar of a suffix cannot be used; None when it can, and for Python, which needs none."""
    parser = _parser(_GRAMMARS[suffix]) if suffix in _GRAMMARS else None
    return parser if isinstance(parser, Fault) else None


def grammar_faults() -> dict[str, Fault]:
    """Languages whose grammars cannot be used, with the reasons, by name."""
    faults = {language_of(f"a{suffix}"): grammar_fault(suffix) for suffix in sorted(SUFFIXES)}
    return {language: fault for language, fault in sorted(faults.items()) if fault}


@lru_cache
def _parser(grammar: Grammar) -> Any:  # the optional wheel may be missing where types are checked
    """The parser of a grammar, or its fault; one that is broken costs its own language alone."""
    try:
        binding = import_module(_BINDING)
        language = getattr(import_module(grammar.wheel), grammar.function)()
        return binding.Parser(binding.Language(language))
    except Exception as error:  # noqa: BLE001  a damaged wheel, or one of another time than the binding, raises anything
        return _fault(grammar, error)


def _fault(grammar: Grammar, error: Exception) -> Fault:
    if isinstance(error, ModuleNotFoundError) and error.name in {_BINDING, grammar.wheel}:
        return Fault(is_missing=True, detail="", remedy=install_extra(_EXTRA))
    packages = [module.replace("_", "-") for module in (_BINDING, grammar.wheel)]
    detail = one_line(f"{grammar.wheel}: {type(error).__name__}: {error}")
    return Fault(is_missing=False, detail=detail, remedy=install_again(_EXTRA, packages))
