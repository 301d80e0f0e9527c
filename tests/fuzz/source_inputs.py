"""Source files: Python by its own parser, other languages by tree-sitter."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from cascade.evidence.corpus import Corpus
from cascade.evidence.making import Evidence
from cascade.evidence.ties import Ties
from cascade.repository.imports import ImportGraph
from cascade.repository.index import Indexed, index_file
from cascade.repository.messages import Messages
from cascade.repository.prototypes import without_prototypes
from cascade.repository.source import read_source
from cascade.repository.tiers import rank_files
from tests.fuzz.answers import TASK
from tests.fuzz.damage import damaged_bytes
from tests.fuzz.target import Files, Target
from tests.helpers.ranker import simple_ranker

_HOLE = "@"  # where other fragments go
_REPEATS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 5, 40, 2_000)

_PYTHON = (
    '"""Docs of a module.\n\nMore."""\n',
    "# -*- coding: latin-1 -*-\n",
    "from __future__ import annotations\n",
    "from . import (a as b,\n  c)\n",
    "from ...x.y import *\n",
    "import os.path as p, sys\n",
    (
        "class A(Base[int], metaclass=M, **kw):\n    '''Docs.'''\n    x: int = 1\n"
        "    def f(self, a, /, b=1, *c, d: 'T' = {1: [2]}, **e) -> 'A': ...\n"
    ),
    "@overload\ndef g(): ...\nasync def g(x=lambda y: (yield)):\n    pass\n",
    "def @(x=@):\n    @\n",
    "if x:\n    def h(): pass\nelif y:\n    pass\nelse:\n    class H: pass\n",
    "try:\n    import json\nexcept* (A, B) as e:\n    json = None\nfinally:\n    pass\n",
    "match x:\n    case {'a': [1, *_], **rest} if y:\n        def inner(): ...\n",
    "a.b = c[d] = *e, = lambda: 0\n",
    "X: Final = 1\n",
    "f'{x!r:>{w}}' f\"{'a' if b else f'{c}'}\"\n",
    "type T[*Ts, **P] = int\ndef k[T: (int, str)](x: T): ...\n",
    "with a as b, c as (d, e):\n    global q\n",
    "(((((((((@)))))))))",
    "not " * 60 + "x\n",
    "-" * 200 + "1\n",
    "x = " + "[" * 90 + "]" * 90 + "\n",
    "lambda: " * 40 + "0\n",
    "elif x:\n    pass\n",
    "\tif x:\n        y\n",
)
_C = (
    "/* Docs. */\n",
    "// One line.\n",
    '#include "list.h"\n#include <stdio.h>\n',
    "#if X\n@\n#elif Y\n@\n#else\n@\n#endif\n",
    "#define F(x) do { x; } while (0)\n",
    "static inline int *f(const char *a, int (*cb)(void *), ...) {\n  @\n}\n",
    "typedef struct { int a; union { int b; } u; } T, *TP;\n",
    "struct S { int a[3]; @ };\n",
    "enum E { A = 1, B, };\n",
    "int (*(*g(int a))[3])(void);\n",
    'extern "C" {\n@\n}\n',
    "void k(a, b) int a; char b; { }\n",
    "int x = {1, {2}};\n",
    "__attribute__((x)) void z(void);\n",
    "(((((@)))))",
)
_GO = (
    "// Package web serves.\npackage web\n",
    'import (\n  "fmt"\n  x "./y"\n)\n',
    "type Server[T any] struct { a int; @ }\n",
    "type (\n  Num int\n  H interface { Do(); ~int | ~string }\n)\n",
    "func (s *Server[T]) Serve(a, b int, c ...string) (n int, err error) {\n @\n}\n",
    "func Map[T any, U comparable](x []T) []U { return nil }\n",
    "var f = func() { @ }\n",
    "const ( A = iota\n B )\n",
    "func (Pair) First() {}\nfunc () bad() {}\nfunc (a.b) c() {}\n",
    "`raw\n@`\n",
)
_JAVASCRIPT = (
    "/**\n * Docs.\n */\n",
    "// @flow\n",
    "const x = require('./util'), {a, b: [c]} = require(\"fs\");\n",
    "import d, * as e from './e.js';\nexport * from \"./more.js\";\nexport { f as default };\n",
    (
        "export default class A extends (class {}) { #p() {} static q(a) {} f = () => 1;"
        " get g() { @ } static { } ['h']() {} }\n"
    ),
    "exports.go = function (a, b = {c: [1]}) { @ };\nmodule.exports.k = async () => {};\n",
    "module.exports = { m() {} };\n",
    "Foo.prototype.bar = function* () {};\nFoo.prototype['x y'] = () => 1;\na.b.c.d = function () {};\n",
    "function* gen() { yield @ }\nasync function h() { for await (const x of y) {} }\n",
    "const j = <p a={1}>{@}</p>;\n",
    "`a${@}b`;\n/re[/]gex/gu;\n",
    "label: while (1) { if (@) break label; else { @ } }\n",
    "((((((@))))))",
    "let k = a ? b : c => d => ({ @ });\n",
)
_TYPESCRIPT = (
    *_JAVASCRIPT,
    (
        "export abstract class U<T extends X = Y> extends B<T> implements I, J { private readonly a?: string;"
        " constructor(private b: C) { super() } abstract m(): void; declare n: number; @dec() o() {} }\n"
    ),
    "export interface O extends X<Y> { a: number; (b: string): void; new (c): D; [k: string]: any; @ }\n",
    "export type P<T> = { [K in keyof T]?: T[K] } & (A | B) | `x${string}`;\n",
    "declare module 'x' { export function deep(a: number): asserts a is 1; @ }\nnamespace A.B.C { @ }\n",
    "const enum E { R = 1 << 2 }\ndeclare global { interface Window {} }\n",
    "export const make = async <T,>(a: T): Promise<T> => { @ }, plain = 5;\n",
    "import type { A } from './a';\nimport fs = require('./fs');\nexport = A;\n",
    "function over(a: string): void;\nfunction over(a: any) { }\nlet v = <T>x as unknown satisfies Y;\n",
)


@st.composite
def _sources(draw: DrawFn, fragments: tuple[str, ...], names: tuple[str, ...]) -> Files:
    """A file of fragments, some of them in the holes of others, then damaged as bytes."""

    def fragment() -> str:
        return fragments[draw(st.integers(0, len(fragments) - 1))]

    text = "".join(fragment() for _ in range(draw(st.integers(0, 5))))
    for _ in range(draw(st.integers(0, 4))):
        text = text.replace(_HOLE, fragment(), 1)
    text += fragment() * _REPEATS[draw(st.integers(0, len(_REPEATS) - 1))]
    data = text.encode(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")[draw(st.integers(0, 4))], "replace")
    return {names[draw(st.integers(0, len(names) - 1))]: draw(damaged_bytes(data))}


def take_source(folder: Path) -> bool:
    """Read a file's outline and symbols, follow its imports, and make items of it all."""
    (file,) = folder.iterdir()
    source = read_source(folder, file.name, Messages())
    if source is None:
        return False
    indexed = index_file(file.name, source)
    assert Indexed.load(indexed.dump(), file.name).dump() == indexed.dump()
    outlines = {file.name: indexed.outline, f"other{file.suffix}": indexed.outline}
    graph = ImportGraph(sorted(outlines), outlines)
    entries = without_prototypes({path: indexed.entry.at(path) for path in outlines})
    corpus = Corpus(tuple(entries), tuple(entries.values()))
    evidence = Evidence.of(corpus, TASK.text, Ties(imported=graph.targets(file.name)), simple_ranker())
    records = rank_files(corpus.paths, evidence.signals.files, evidence.signals.ties, outlines)
    place = {path: at for at, path in enumerate(corpus.paths)}
    items = evidence.file_items([place[one.path] for one in records], {one.path: one for one in records})
    for item in (*evidence.symbol_items(evidence.best_symbols(50)), *items):
        for text in (item.id, item.kind, item.name, item.signature, item.doc, *item.evidence):
            assert isinstance(text, str)
            text.encode()
    return not indexed.outline.problem


def _target(name: str, share: int, fragments: tuple[str, ...], *suffixes: str) -> Target:
    files: SearchStrategy[Files] = _sources(fragments, tuple(f"parser.{suffix}" for suffix in suffixes))
    return Target(name=name, share=share, files=files, take=take_source)


TARGETS = (
    _target("python", 6, _PYTHON, "py"),
    _target("javascript", 4, _JAVASCRIPT, "js", "jsx", "mjs"),
    _target("typescript", 4, _TYPESCRIPT, "ts", "tsx", "d.ts"),
    _target("go", 3, _GO, "go"),
    _target("c", 3, _C, "c", "h"),
)
