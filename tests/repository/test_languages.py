"""Symbols and imports of files in languages other than Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.evidence.entry import Entry
from cascade.evidence.records import SymbolRecord
from cascade.machine import install_again, install_extra
from cascade.repository.find import find_candidates
from cascade.repository.prototypes import without_prototypes
from cascade.repository.source import read_definitions, read_outline
from tests.helpers.checkout import Checkout
from tests.helpers.ranker import simple_ranker


def records(path: str, source: str) -> list[SymbolRecord]:
    """What is shown of every symbol."""
    entry = Entry.of(read_definitions(path, source.encode()), source)
    return list(without_prototypes({path: entry})[path].symbols)


def shown(path: str, source: str) -> list[tuple[str, str, str, str]]:
    """Kind, qualified name, signature and documentation of every symbol."""
    return [(one.kind, one.qualname, one.signature, one.doc) for one in records(path, source)]


def test_typescript() -> None:
    """Classes with members, interfaces, types, enums, functions as values and namespaces."""
    pytest.importorskip("tree_sitter_typescript")
    source = """import { b } from "./b";
/**
 * A user of things.
 */
export abstract class User<T> extends Base<T> implements I {
  private name = (x: number): string => "";
  /** Says it. */
  async say({ a, b }: Opts, n = 3): Promise<void> { }
}
export interface Opts extends X { a: number }
export type Props = { a: number };
enum Color { Red }
// Makes one
// or more.
export const make = async (a: string): Promise<User> => { }, plain = 5;
namespace Inner { export function deep() {} }
"""
    assert shown("a.ts", source) == [
        ("class", "User", "abstract class User<T> extends Base<T> implements I", "A user of things."),
        ("method", "User.name", "private name = (x: number): string", ""),
        ("method", "User.say", "async say({ a, b }: Opts, n = 3): Promise<void>", "Says it."),
        ("class", "Opts", "interface Opts extends X", ""),
        ("class", "Props", "type Props", ""),
        ("class", "Color", "enum Color", ""),
        ("function", "make", "make = async (a: string): Promise<User>", "Makes one"),
        ("function", "Inner.deep", "function deep()", ""),
    ]
    assert records("a.tsx", "const App = () => <p>{1}</p>;")[0].signature == "App = ()"


def test_javascript() -> None:
    """Classes, exported and prototype functions, generators, and what a file requires."""
    pytest.importorskip("tree_sitter_javascript")
    source = """/* Walks. */
const x = require('./util'), y = require("fs");
export * from "./more.js";
exports.go = function (a, b) { return 1 };
Foo.prototype.bar = function () {};
function* gen() {}
class A { #p() {} static q(a) {} f = () => 1; }
"""
    assert [one[:3] for one in shown("a.js", source)] == [
        ("function", "go", "exports.go = function (a, b)"),
        ("method", "Foo.bar", "Foo.prototype.bar = function ()"),
        ("function", "gen", "function* gen()"),
        ("class", "A", "class A"),
        ("method", "A.#p", "#p()"),
        ("method", "A.q", "static q(a)"),
        ("method", "A.f", "f = ()"),
    ]
    outline = read_outline("a.js", source.encode())
    assert (outline.doc, outline.tops) == ("Walks.", ("go", "gen", "A"))
    assert [one.module for one in outline.imports] == ["./util", "./more.js"]


def test_go() -> None:
    """Functions, methods under their receiver, and every named type."""
    pytest.importorskip("tree_sitter_go")
    source = """// Package web serves.
package web

// Server serves.
type Server struct { a int }
type (
	// Num is one.
	Num int
	Handler interface { Do() }
)
// Serve does the
// serving.
func (s *Server) Serve(l net.Listener, n int) (err error) {
	return nil
}
func (p Pair[K, V]) First() K { }
func Map[T any](x []T) []T { return x }
"""
    assert shown("a.go", source) == [
        ("class", "Server", "type Server struct", "Server serves."),
        ("class", "Num", "type Num int", "Num is one."),
        ("class", "Handler", "type Handler interface", ""),
        ("method", "Handler.Do", "Do()", ""),
        ("method", "Server.Serve", "func (s *Server) Serve(l net.Listener, n int) (err error)", "Serve does the"),
        ("method", "Pair.First", "func (p Pair[K, V]) First() K", ""),
        ("function", "Map", "func Map[T any](x []T) []T", ""),
    ]
    assert records("a.go", source)[4].lines == 3
    assert read_outline("a.go", source.encode()).doc == "Package web serves."


def test_c() -> None:
    """Functions through pointers and conditions, types with members, and included files."""
    pytest.importorskip("tree_sitter_c")
    source = """/* Copyright 2024. */
#include "list.h"
#include <stdio.h>
/*
 * Adds an element.
 */
static inline int
list_add(struct list *l, int x)
{
  return 0;
}
char **names(void) { return 0; }
#if FOO
void foo(void) {}
#endif
struct pt { int x; } origin;
typedef struct { int a; } thing_t;
int only_declared(void);
"""
    assert shown("a.c", source) == [
        ("function", "list_add", "static inline int list_add(struct list *l, int x)", "Adds an element."),
        ("function", "names", "char **names(void)", ""),
        ("function", "foo", "void foo(void)", ""),
        ("class", "pt", "struct pt", ""),
        ("class", "thing_t", "typedef struct thing_t", ""),
    ]
    outline = read_outline("a.c", source.encode())
    assert (outline.doc, [one.module for one in outline.imports]) == ("", ["list.h"])


def test_header_shows_what_it_declares() -> None:
    """Prototypes count in a header, variables and function pointers do not."""
    pytest.importorskip("tree_sitter_c")
    source = """#ifndef A_H
#ifdef __cplusplus
extern "C" {
#endif
/* Adds one. */
int add(struct list *l, int x);
extern int global;
int (*pointer)(int);
#ifdef __cplusplus
}
#endif
#endif
"""
    assert shown("a.h", source) == [("function", "add", "int add(struct list *l, int x)", "Adds one.")]


@pytest.mark.slow
@pytest.mark.parametrize("path", [f"a.{one}" for one in "c h cpp cs go java js kt php rb rs ts tsx".split()])
def test_broken_source_never_raises(path: str) -> None:
    """Half a file, bytes that are no text and deep nesting give what can be had."""
    for source in (b"function (", b"\xff\xfe", b"class {" * 3000, b"(" * 3000, b"#if 1\n" * 3000, b""):
        assert isinstance(read_definitions(path, source), list)
        assert read_outline(path, source).doc in {"", "if 1"}  # which is a comment in Ruby and PHP
    assert read_outline(path, b"\xff\xfe").problem


def test_files_tie_across_a_repository(checkout: Checkout) -> None:
    """Includes and relative imports make dependencies, history works for any language."""
    pytest.importorskip("tree_sitter_c")
    pytest.importorskip("tree_sitter_typescript")
    checkout.init()
    for number in range(2):
        checkout.commit({"src/main.c": f'#include "api.h"\nint a = {number};', "include/api.h": f"// {number}"})
    checkout.write({"web/a.ts": 'import "./b";', "web/b.ts": "export function f() {}"})
    (header,) = checkout.find("x", "src/main.c").files
    assert (header.path, header.imported_by_seed, header.co_changes) == ("include/api.h", True, 2)
    (importer,) = checkout.find("x", "web/b.ts").files
    assert (importer.path, importer.imports_seed) == ("web/a.ts", True)


def in_another_process(checkout: Checkout, tmp_path: Path, modules: dict[str, str], *seeds: str) -> dict[str, Any]:
    """What another process finds where some modules are as a test has them; an empty one is not installed."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    code = """
import json, sys
from pathlib import Path
root, cache, seeds, missing = sys.argv[1], sys.argv[2], sys.argv[3].split(), sys.argv[4].split()
sys.modules.update(dict.fromkeys(missing))
from cascade.repository.find import find_candidates
from tests.helpers.ranker import simple_ranker
result = find_candidates(Path(root), "widget", seeds, cache=Path(cache), ranker=simple_ranker())
symbols = sorted(symbol.id for symbol in result.symbols)
from cascade.cli.doctor import examine
doctor = next(finding.value for finding in examine() if finding.name == "grammars")
files = [record.path for record in result.files]
print(json.dumps({"files": files, "symbols": symbols, "doctor": doctor} | result.reading()))
"""
    missing = " ".join(name for name, text in modules.items() if not text)
    command = [sys.executable, "-c", code, str(checkout.root), str(tmp_path / "cache"), " ".join(seeds), missing]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_languages_without_their_wheel_are_told(checkout: Checkout, tmp_path: Path) -> None:
    """The file stays a candidate, the message has the command that installs the grammars, and nothing is cached."""
    pytest.importorskip("tree_sitter_go")
    checkout.write({"seed.go": "func f() {}", "widget.go": "func g() {}"})
    found = in_another_process(checkout, tmp_path, {"tree_sitter": ""}, "seed.go")
    assert (found["files"], found["symbols"]) == (["widget.go"], [])
    assert found["left_out"]["no_grammar"]["languages"] == {"Go": 2}
    assert found["left_out"]["no_grammar"]["message"] == (
        "2 files have no symbols, because the grammars of their languages are not installed: Go 2 (.go). "
        f"`{install_extra('languages')}` installs them."
    )
    assert found["doctor"].startswith(
        "without C, C#, C++, Go, Java, JavaScript, Kotlin, PHP, Ruby, Rust, TypeScript; `"
    )
    cache = tmp_path / "cache"
    later = find_candidates(checkout.root, "widget", ["seed.go"], cache=cache, ranker=simple_ranker())
    assert {symbol.qualname for symbol in later.symbols} == {"f", "g"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "detail"),
    [
        ("def language(): raise ValueError('Incompatible Language version 99')", "ValueError: Incompatible Language"),
        ("def language(): return 'no language'", "TypeError"),
        ("import tree_sitter_go._binding", "ModuleNotFoundError"),
        ("raise OSError('cannot open shared object file')", "OSError: cannot open"),
        ("language = None", "TypeError"),
        ("", ""),
    ],
)
def test_one_grammar_costs_its_own_language_alone(checkout: Checkout, tmp_path: Path, broken: str, detail: str) -> None:
    """A wheel that is missing, damaged or of another time is told; the other languages are read."""
    for name in ("tree_sitter_c", "tree_sitter_go", "tree_sitter_javascript"):
        pytest.importorskip(name)
    checkout.write({"a.c": "int a() {}", "b.go": "func b() {}", "c.js": "function c() {}", "d.py": "def d(): ..."})
    found = in_another_process(checkout, tmp_path, {"tree_sitter_go": broken})
    assert found["symbols"] == ["a.c::a", "c.js::c", "d.py::d"]
    ((reason, told),) = found["left_out"].items()
    assert (reason, told["languages"]) == ("broken_grammar" if broken else "no_grammar", {"Go": 1})
    assert detail in told["message"]
    packages = ["tree-sitter", "tree-sitter-go"]
    remedy = install_again("languages", packages) if broken else install_extra("languages")
    assert f"`{remedy}` installs them." in told["message"]
    assert found["doctor"].startswith("without Go")
    assert found["doctor"].endswith(f"; `{remedy}` installs them")
    assert detail in found["doctor"]
