"""Definitions of every language: what is a symbol, where it stands, its text, documentation, strings and names."""

from __future__ import annotations

import pytest

from cascade.evidence.entry import Entry
from cascade.evidence.records import Definition
from cascade.repository.languages import language_of
from cascade.repository.outline import Import
from cascade.repository.prototypes import without_prototypes
from cascade.repository.reasons import SLOW_SOURCE
from cascade.repository.source import read_definitions, read_outline

PYTHON = '''"""Baskets."""
import functools

class Basket(Base):
    """What a customer takes.

    Until it is paid."""

    limit = default_limit("basket.limit")

    @functools.cached_property
    def total(self):
        """Sum of all."""
        def rounded(price):
            """Cents."""
            return price.quantize(CENT)
        return sum(map(rounded, self.prices))

    class Line:
        text = "one line"

@typing.overload
def pay(card: str) -> None: ...
def pay(card):
    raise PaymentError(f"cannot pay {card!r} twice")
'''

C = """\
/* Says hello. */
int greet(const char *name);

struct person { int age; };

/* Greets a person by name. */
static int
shout(struct person *who)
{
    return printf("HELLO %d\\n", who->age);
}

int greet(const char *name)
{
    return shout(find_person(name));
}
int elsewhere(int x);
"""

CPP = """\
#include "stack.h"
namespace data {
/// A stack of values.
template <typename T>
class Stack : public Base<T> {
 public:
  explicit Stack(int size) : size_(size) { reserve(size); }
  /// Puts a value on top.
  void push(const T& value);
  T& top() const { return items_.back(); }
  bool operator==(const Stack& other) const;
  struct Node { int depth; };
};

template <typename T>
void Stack<T>::push(const T& value) {
  auto check = [&](int n) { return n < limit(); };
  if (!check(1)) throw std::length_error("stack is full");
}
}  // namespace data
enum class Color { Red };
static int helper() { return 1; }
"""

RUST = """\
//! Baskets.
mod price;

/// What a customer takes.
#[derive(Debug)]
pub struct Basket<T> {
    items: Vec<T>,
}

impl<T: Priced> fmt::Display for Basket<T> {
    /// Adds it all up.
    #[inline]
    fn fmt(&self, out: &mut Formatter) -> fmt::Result {
        fn rounded(cents: u64) -> u64 { cents }
        write!(out, "total {}", rounded(self.total()))
    }
}

pub trait Priced {
    fn price(&self) -> u64;
}

macro_rules! basket { () => { Basket::new() } }

mod tests {
    #[test]
    fn empty() { assert_empty(); }
}
"""

JAVA = """\
package shop;

import shop.prices.PriceList;

/**
 * What a customer takes.
 * Until it is paid.
 */
@Entity(name = "basket")
public class Basket<T> extends Base implements Priced {
    private final PriceList prices = PriceList.load("prices.csv");

    public Basket(int size) { super(size); }

    /** Sums it up. */
    @Override
    public long total(Currency currency) {
        Runnable later = new Runnable() { public void run() { audit(); } };
        throw new IllegalStateException("basket is closed");
    }

    interface Line { long cents(); }
}

enum Color { RED; Color darker() { return this; } }
"""

CSHARP = """\
using System;
namespace Shop.Baskets;

/// <summary>What a customer takes.</summary>
[Serializable]
public class Basket<T> : Base, IPriced where T : class
{
    public int Count { get; set; }
    public long Total => prices.Sum(Rounded);

    public Basket(int size) : base(size) { Resize(size); }

    /// <summary>Pays it.</summary>
    public async Task<Receipt> PayAsync(string card)
    {
        long Cents(long euros) { return euros * 100; }
        throw new PaymentException($"cannot pay {card} twice");
    }
}

public interface IPriced { long Price(); }
public record Line(string Name);
"""

RUBY = """\
# Baskets.
require_relative "price"

module Shop
  # What a customer takes.
  class Basket < Base
    before_action :check_stock

    # Takes off a share.
    def apply_discount(code, share = 0.1)
      raise ArgumentError, "unknown code #{code}" unless known?(code)
    end

    def self.load(path) = new(File.read(path))

    class << self
      def empty?; true; end
    end
  end
end

class Shop::Receipt; end

def main
  helper = lambda { puts "done" }
end
"""

PHP = """\
<?php
namespace Shop;

use Shop\\Prices\\PriceList;

/**
 * What a customer takes.
 */
#[Entity]
final class Basket extends Base implements Priced
{
    use Timestamps;

    public function __construct(private PriceList $prices) {}

    /** Takes off a share. */
    public static function applyDiscount(string $code): float
    {
        $rounded = function ($x) { return round($x); };
        throw new DiscountException("unknown code $code");
    }
}

interface Priced { function price(): int; }
trait Timestamps { function touch() { mark('touched'); } }

function helper(int $n) { return $n; }
"""

KOTLIN = """\
package shop

import shop.prices.PriceList

/** What a customer takes. */
@Entity("basket")
data class Basket(val size: Int) : Base(), Priced {
    companion object {
        fun empty(): Basket = Basket(0)
    }

    /** Takes off a share. */
    override fun applyDiscount(code: String): Double {
        fun rounded(x: Double) = x
        throw DiscountException("unknown code $code")
    }
}

interface Priced {
    fun price(): Long
}

object Registry {
    fun register(name: String) {
        add(name)
    }
}

fun String.shout() = uppercase()
"""

GO = """\
package shop

// Basket is what a customer takes.
type Basket struct {
	items []Item
}

type (
	// Priced has a price.
	Priced interface {
		Price() int
	}
)

// Total sums it up.
func (b *Basket) Total(currency string) (int, error) {
	round := func(x int) int { return x }
	return 0, errors.New("basket is closed")
}

func helper(n int) int { return compute(n) }
"""

JAVASCRIPT = """"use strict"
const reply = module.exports = Object.create(null)

/**
 * Hand a document to the reader.
 */
reply.sendReceipt = function sendReceipt (path, done) {
  function finish (problem) { return done(problem) }
  this.stream(path, finish, "receipt sent")
}

Basket.prototype.total = function () { return sumOf(this.items) }

const api = {
  // Gets one.
  get (id) { return fetchOne(id) },
  put: async (id) => store.put(id),
  'odd-name': function () {},
  limit: 5
}

module.exports = { listAll () { return 1 }, remove: function (id) { return 2 }, api }

class Basket extends Base {
  label = "basket"
  add = (item) => { this.items.push(item) }
  static of (...items) { return new Basket(items) }
}

const Shown = memo(function (props) { return render(props) })
const names = items.map(item => item.name)
;(function () { function inside () {} })()
"""

TYPESCRIPT = """\
import { Base } from "./base";

/** What a customer takes. */
@Injectable()
export class Basket<T> extends Base<T> implements Priced {
  private label = "basket";
  total(currency: string): number;
  /** Sums it up. */
  @Cached(5)
  total(currency?: string) { return sumOf(this.items, "total"); }
  readonly add = (item: T): void => { this.items.push(item); };
}

export interface Priced {
  price(): number;
}

export function pay(card: string): void;
export function pay(card: unknown) { throw new PaymentError(`cannot pay ${card}`); }

namespace Inner { export function deep() {} }
"""


def read(path: str, source: str) -> dict[str, Definition]:
    """Definitions of a source text by qualified name."""
    language = language_of(path)
    wheel = {"C#": "c_sharp", "C++": "cpp"}.get(language, language.lower())
    if language != "Python":
        pytest.importorskip(f"tree_sitter_{wheel}")
    return {one.record.qualname: one for one in read_definitions(path, source.encode())}


def spans(found: dict[str, Definition]) -> list[tuple[str, str, int, int]]:
    """Kind, qualified name, first line and number of lines of every symbol."""
    records = [one.record for one in found.values()]
    return [(one.kind, one.qualname, one.line, one.lines) for one in records]


def test_python() -> None:
    """Decorators count as lines, nested functions and overloads belong to their symbol."""
    found = read("src/a.py", PYTHON)
    assert spans(found) == [
        ("class", "Basket", 4, 17),
        ("method", "Basket.total", 11, 7),
        ("class", "Basket.Line", 19, 2),
        ("function", "pay", 24, 2),
    ]
    total = found["Basket.total"]
    assert (total.doc, total.strings) == ("Sum of all.", ())
    assert {"rounded", "quantize", "CENT", "cached_property"} <= total.uses
    assert "def rounded" in total.text
    assert found["Basket"].doc.endswith("Until it is paid.")
    assert "def total(self):" in found["Basket"].text
    assert "quantize" not in found["Basket"].text
    assert found["Basket"].strings == ("basket.limit",)
    assert found["pay"].strings == ("cannot pay {} twice",)
    assert found["pay"].text.count("def pay") == 2
    assert "pay" not in found["pay"].uses


def test_c() -> None:
    """A prototype and its definition are one symbol, and what is only declared is another file's."""
    found = read("src/a.c", C)
    assert spans(found) == [
        ("function", "greet", 13, 4),
        ("class", "person", 4, 1),
        ("function", "shout", 7, 5),
    ]
    assert found["greet"].text.count("int greet") == 2
    assert found["greet"].doc == "Says hello."
    assert found["shout"].strings == ("HELLO %d\\n",)
    assert {"printf", "person", "age"} <= found["shout"].uses


def test_cpp() -> None:
    """A class in a namespace owns what is defined in it and out of line; a template belongs to its function."""
    found = read("src/a.cpp", CPP)
    assert spans(found) == [
        ("class", "Stack", 4, 10),
        ("method", "Stack.Stack", 7, 1),
        ("method", "Stack.push", 15, 5),
        ("method", "Stack.top", 10, 1),
        ("prototype", "Stack.operator==", 11, 1),
        ("class", "Stack.Node", 12, 1),
        ("class", "Color", 21, 1),
        ("function", "helper", 22, 1),
    ]
    push = found["Stack.push"]
    assert (push.doc, push.strings) == ("Puts a value on top.", ("stack is full",))
    assert push.text.startswith("void push(const T& value);\ntemplate <typename T>")
    assert found["Stack.Stack"].record.signature == "explicit Stack(int size)"
    assert "back()" not in found["Stack"].text
    assert "Puts a value" not in found["Stack"].text


def test_rust() -> None:
    """Methods belong to the type that they are implemented for, attributes to what they precede."""
    found = read("src/a.rs", RUST)
    assert spans(found) == [
        ("class", "Basket", 5, 4),
        ("method", "Basket.fmt", 12, 5),
        ("class", "Priced", 19, 3),
        ("method", "Priced.price", 20, 1),
        ("function", "basket", 23, 1),
        ("function", "tests.empty", 26, 2),
    ]
    fmt = found["Basket.fmt"]
    assert (fmt.doc, fmt.strings) == ("Adds it all up.", ("total {}",))
    assert fmt.text.startswith("#[inline]")
    assert "rounded" in fmt.uses
    assert read_outline("src/a.rs", RUST.encode()).doc == "Baskets."
    assert Import(module="price.rs") in read_outline("src/lib.rs", RUST.encode()).imports


def test_java() -> None:
    """Constructors, methods of interfaces and enums, and nested types; anonymous classes belong to their method."""
    found = read("src/a.java", JAVA)
    assert spans(found) == [
        ("class", "Basket", 9, 15),
        ("method", "Basket.Basket", 13, 1),
        ("method", "Basket.total", 16, 5),
        ("class", "Basket.Line", 22, 1),
        ("method", "Basket.Line.cents", 22, 1),
        ("class", "Color", 25, 1),
        ("method", "Color.darker", 25, 1),
    ]
    total = found["Basket.total"]
    assert total.record.signature == "public long total(Currency currency)"
    assert (total.doc, total.strings) == ("Sums it up.", ("basket is closed",))
    assert {"Runnable", "audit", "Override"} <= total.uses
    assert found["Basket"].doc == "What a customer takes.\nUntil it is paid."
    assert found["Basket"].strings == ("basket", "prices.csv")
    assert read_outline("a.java", JAVA.encode()).imports == (Import(module="shop/prices/PriceList.java"),)


def test_csharp() -> None:
    """Properties that compute are methods, fields and properties without code are not."""
    found = read("src/a.cs", CSHARP)
    assert spans(found) == [
        ("class", "Basket", 5, 15),
        ("method", "Basket.Total", 9, 1),
        ("method", "Basket.Basket", 11, 1),
        ("method", "Basket.PayAsync", 14, 5),
        ("class", "IPriced", 21, 1),
        ("method", "IPriced.Price", 21, 1),
        ("class", "Line", 22, 1),
    ]
    pay = found["Basket.PayAsync"]
    assert (pay.doc, pay.strings) == ("Pays it.", ("cannot pay {card} twice",))
    assert "PaymentException" in pay.uses
    assert found["Basket"].doc == "What a customer takes."
    assert "Cents" not in found["Basket"].text


def test_ruby() -> None:
    """Modules, reopened and singleton classes own their methods."""
    found = read("src/a.rb", RUBY)
    assert spans(found) == [
        ("class", "Shop", 4, 17),
        ("class", "Shop.Basket", 6, 14),
        ("method", "Shop.Basket.apply_discount", 10, 3),
        ("method", "Shop.Basket.load", 14, 1),
        ("method", "Shop.Basket.empty?", 17, 1),
        ("class", "Shop.Receipt", 22, 1),
        ("function", "main", 24, 3),
    ]
    apply = found["Shop.Basket.apply_discount"]
    assert apply.record.signature == "def apply_discount(code, share = 0.1)"
    assert (apply.doc, apply.strings) == ("Takes off a share.", ("unknown code #{code}",))
    assert "ArgumentError" in apply.uses
    assert found["Shop.Basket"].uses == {"Base", "before_action", "check_stock"}
    assert read_outline("a.rb", RUBY.encode()).imports == (Import(module="price.rb"),)


def test_php() -> None:
    """Methods of classes, interfaces and traits, without the namespace."""
    found = read("src/a.php", PHP)
    assert spans(found) == [
        ("class", "Basket", 9, 14),
        ("method", "Basket.__construct", 14, 1),
        ("method", "Basket.applyDiscount", 17, 5),
        ("class", "Priced", 24, 1),
        ("method", "Priced.price", 24, 1),
        ("class", "Timestamps", 25, 1),
        ("method", "Timestamps.touch", 25, 1),
        ("function", "helper", 27, 1),
    ]
    apply = found["Basket.applyDiscount"]
    assert (apply.doc, apply.strings) == ("Takes off a share.", ("unknown code $code",))
    assert "DiscountException" in apply.uses
    assert found["Basket"].text.startswith("#[Entity]\nfinal class Basket")
    assert read_outline("a.php", PHP.encode()).imports == (Import(module="Prices/PriceList.php"),)


def test_kotlin() -> None:
    """Methods of classes, companions, interfaces and objects."""
    found = read("src/a.kt", KOTLIN)
    assert spans(found) == [
        ("class", "Basket", 6, 12),
        ("method", "Basket.empty", 9, 1),
        ("method", "Basket.applyDiscount", 13, 4),
        ("class", "Priced", 19, 3),
        ("method", "Priced.price", 20, 1),
        ("class", "Registry", 23, 5),
        ("method", "Registry.register", 24, 3),
        ("function", "shout", 29, 1),
    ]
    apply = found["Basket.applyDiscount"]
    assert (apply.doc, apply.strings) == ("Takes off a share.", ("unknown code $code",))
    assert "rounded" in apply.uses
    assert found["Basket"].text.startswith("@Entity")
    assert "throw" not in found["Basket"].text


def test_go() -> None:
    """A method belongs to its receiver, an interface owns its methods."""
    found = read("src/a.go", GO)
    assert spans(found) == [
        ("class", "Basket", 4, 3),
        ("class", "Priced", 10, 3),
        ("method", "Priced.Price", 11, 1),
        ("method", "Basket.Total", 16, 4),
        ("function", "helper", 21, 1),
    ]
    total = found["Basket.Total"]
    assert (total.doc, total.strings) == ("Total sums it up.", ("basket is closed",))
    assert {"errors", "round", "Basket"} <= total.uses
    assert found["Basket"].text.startswith("type Basket struct")


def test_javascript() -> None:
    """Functions that are assigned, members of objects and classes; callbacks of others are no symbols."""
    found = read("src/a.js", JAVASCRIPT)
    assert spans(found) == [
        ("method", "reply.sendReceipt", 7, 4),
        ("method", "Basket.total", 12, 1),
        ("method", "api.get", 16, 1),
        ("method", "api.put", 17, 1),
        ("method", "api.odd-name", 18, 1),
        ("function", "listAll", 22, 1),
        ("function", "remove", 22, 1),
        ("class", "Basket", 24, 5),
        ("method", "Basket.add", 26, 1),
        ("method", "Basket.of", 27, 1),
        ("function", "Shown", 30, 1),
        ("function", "inside", 32, 1),
    ]
    receipt = found["reply.sendReceipt"]
    assert (receipt.doc, receipt.strings) == ("Hand a document to the reader.", ("receipt sent",))
    assert {"finish", "stream"} <= receipt.uses
    assert "sendReceipt" not in receipt.uses
    assert found["api.get"].doc == "Gets one."
    assert found["Basket"].text.count("items.push") == 0


def test_typescript() -> None:
    """Overloads are one symbol that its implementation stands for, decorators belong to what they precede."""
    found = read("src/a.ts", TYPESCRIPT)
    assert spans(found) == [
        ("class", "Basket", 4, 9),
        ("method", "Basket.total", 9, 2),
        ("method", "Basket.add", 11, 1),
        ("class", "Priced", 14, 3),
        ("method", "Priced.price", 15, 1),
        ("function", "pay", 19, 1),
        ("function", "Inner.deep", 21, 1),
    ]
    total = found["Basket.total"]
    assert total.record.signature == "total(currency?: string)"
    assert (total.doc, total.strings) == ("Sums it up.", ("total",))
    assert total.text.count("total(") == 2
    assert found["Basket"].text.startswith("@Injectable()\nexport class")
    assert found["pay"].strings == ("cannot pay ${card}",)


def test_header_of_cpp_with_the_suffix_of_c() -> None:
    """A .h file that C's grammar cannot read is read as C++, and a macro before a name is no part of it."""
    pytest.importorskip("tree_sitter_c")
    pytest.importorskip("tree_sitter_cpp")
    source = "namespace a {\nclass Stack {\n public:\n  void push(int x);\n};\nAPI std::string name(int x);\n}\n"
    records = [one.record for one in read_definitions("a.h", source.encode())]
    assert [(one.kind, one.qualname) for one in records] == [
        ("class", "Stack"), ("prototype", "Stack.push"), ("prototype", "name"),
    ]  # fmt: skip


def test_prototypes_give_way_to_definitions_elsewhere() -> None:
    """A header shows only what no source file of the tree defines; a static namesake defines nothing for others."""
    pytest.importorskip("tree_sitter_cpp")
    sources = {
        "api.hpp": "class Stack { void push(int x); void pop(); };\nint add(int a);\nint lost(int a);\nint own(int a);",
        "api.cpp": "void data::Stack::push(int x) {}\nint add(int a) { return a; }\n",
        "other.cpp": "static int own(int a) { return a; }\n",
        "script.js": "function lost() {}",
    }
    entries = {path: Entry.of(read_definitions(path, source.encode()), source) for path, source in sources.items()}
    shown = without_prototypes(entries)
    assert [(one.kind, one.qualname) for one in shown["api.hpp"].symbols] == [
        ("class", "Stack"), ("method", "Stack.pop"), ("function", "lost"), ("function", "own"),
    ]  # fmt: skip
    assert [one.qualname for one in shown["api.cpp"].symbols] == ["data.Stack.push", "add"]


def test_long_strings_are_cut() -> None:
    """A string literal counts once, and with its first 400 characters."""
    source = f"def f():\n    return '{'x' * 500}', '{'x' * 500}', ' ', 'short'\n"
    assert read("a.py", source)["f"].strings == ("x" * 400, "short")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["c", "cpp", "cs", "go", "java", "js", "kt", "php", "rb", "rs", "ts"])
def test_large_and_deep_files_are_read(suffix: str) -> None:
    """100,000 levels, and half a megabyte of errors, cost neither the process nor a long name."""
    pytest.importorskip("tree_sitter")
    for text in ("x = " + "[" * 100_000 + "]" * 100_000, "class A {" * 20_000, "(" * 500_000):
        found = read_definitions(f"a.{suffix}", text.encode())
        assert all(len(one.record.qualname) < 100 for one in found)
        assert read_outline(f"a.{suffix}", text.encode()).problem in {"", SLOW_SOURCE.key}


def test_what_takes_too_long_to_parse_is_told() -> None:
    """A file that is one great error has no symbols, and its outline says why."""
    pytest.importorskip("tree_sitter_c")
    source = b"x = " + b"(" * 40_000
    assert read_definitions("a.c", source) == []
    assert read_outline("a.c", source).problem == SLOW_SOURCE.key
