"""What the nodes of each language's syntax tree mean, as tree-sitter queries. Data.

The wheels' own ``tags.scm`` do not serve: Kotlin's has none, C#'s is not found by its wheel, TypeScript's leaves out
what JavaScript's has, none tells owners, bodies or strings, and their patterns of several nodes take quadratic time in
deeply nested files. These use tags of the same kind, and patterns of one node each, which never do:

- ``@class``, ``@function``: a symbol. A function in a class or an owner is a method.
- ``@owner``: no symbol, but what is in it are its methods, such as Rust's ``impl``.
- ``@module``: no symbol, but its name precedes those of what is in it.
- ``@declared``, ``@assigned``: a symbol, or none, as tag_names.py finds out.
- ``@above``: belongs to the definition that follows. ``@import``: names another file.
- ``@use``, ``@string``, ``@comment``: leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from cascade.repository.languages import PYTHON, SUFFIXES, language_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """One language's tags.

    Attributes:
        wheel: The module of its grammar's wheel.
        function: The function of that module which returns the grammar.
        definitions: The query for what is defined and imported.
        leaves: The query for names in use, strings and comments.
    """

    wheel: str
    function: str = "language"
    definitions: str
    leaves: str


_C_DEFINITIONS = """
[(function_definition) (declaration) (type_definition)] @declared
[(struct_specifier) (union_specifier) (enum_specifier)] @declared
(preproc_include) @import
"""
_C_LEAVES = """
[(identifier) (field_identifier) (type_identifier)] @use
(string_literal) @string
(comment) @comment
"""
_C = Tags(wheel="tree_sitter_c", definitions=_C_DEFINITIONS, leaves=_C_LEAVES)
_CPP = Tags(
    wheel="tree_sitter_cpp",
    definitions=f"""{_C_DEFINITIONS}
[(class_specifier) (field_declaration)] @declared
(template_declaration) @above
""",
    leaves=f"{_C_LEAVES} (namespace_identifier) @use (raw_string_literal) @string",
)
_GO = Tags(
    wheel="tree_sitter_go",
    definitions="""
(type_spec) @class
[(function_declaration) (method_declaration) (method_elem)] @function
""",
    leaves="""
[(identifier) (type_identifier) (field_identifier)] @use
[(interpreted_string_literal) (raw_string_literal)] @string
(comment) @comment
""",
)
_JAVA = Tags(
    wheel="tree_sitter_java",
    definitions="""
[(class_declaration) (interface_declaration) (enum_declaration) (record_declaration)] @class
(annotation_type_declaration) @class
[(method_declaration) (constructor_declaration) (compact_constructor_declaration)] @function
(import_declaration) @import
""",
    leaves="""
[(identifier) (type_identifier)] @use
(string_literal) @string
[(line_comment) (block_comment)] @comment
""",
)
_CSHARP = Tags(
    wheel="tree_sitter_c_sharp",
    definitions="""
[(class_declaration) (interface_declaration) (enum_declaration) (record_declaration) (struct_declaration)] @class
[(method_declaration) (constructor_declaration) (destructor_declaration) (operator_declaration)] @function
[(property_declaration) (indexer_declaration) (local_function_statement) (delegate_declaration)] @function
""",
    leaves="""
(identifier) @use
[(string_literal) (verbatim_string_literal) (raw_string_literal) (interpolated_string_expression)] @string
(comment) @comment
""",
)
_KOTLIN = Tags(
    wheel="tree_sitter_kotlin",
    definitions="""
[(class_declaration) (object_declaration)] @class
[(function_declaration) (secondary_constructor)] @function
(import) @import
""",
    leaves="""
(identifier) @use
[(string_literal) (multiline_string_literal)] @string
[(line_comment) (block_comment)] @comment
""",
)
_PHP = Tags(
    wheel="tree_sitter_php",
    function="language_php",
    definitions="""
[(class_declaration) (interface_declaration) (trait_declaration) (enum_declaration)] @class
[(function_definition) (method_declaration)] @function
[(namespace_use_clause) (require_expression) (require_once_expression)] @import
[(include_expression) (include_once_expression)] @import
""",
    leaves="""
(name) @use
[(string) (encapsed_string) (heredoc) (nowdoc)] @string
(comment) @comment
""",
)
_RUBY = Tags(
    wheel="tree_sitter_ruby",
    definitions="""
[(class) (module)] @class
[(method) (singleton_method)] @function
(call) @import
""",
    leaves="""
[(identifier) (constant) (simple_symbol)] @use
[(string) (heredoc_body)] @string
(comment) @comment
""",
)
_RUST = Tags(
    wheel="tree_sitter_rust",
    definitions="""
[(struct_item) (enum_item) (union_item) (trait_item) (type_item)] @class
[(function_item) (function_signature_item) (macro_definition)] @function
(impl_item) @owner
(mod_item) @module
(mod_item) @import
(attribute_item) @above
""",
    leaves="""
[(identifier) (type_identifier) (field_identifier) (shorthand_field_identifier)] @use
[(string_literal) (raw_string_literal)] @string
[(line_comment) (block_comment)] @comment
""",
)
_JAVASCRIPT_DEFINITIONS = """
(class_declaration) @class
[(function_declaration) (generator_function_declaration) (method_definition)] @function
[(variable_declarator) (assignment_expression) (pair)] @assigned
[(import_statement) (export_statement) (variable_declarator)] @import
(decorator) @above
"""
_JAVASCRIPT_LEAVES = """
[(identifier) (property_identifier) (shorthand_property_identifier)] @use
[(string) (template_string)] @string
(comment) @comment
"""
_JAVASCRIPT = Tags(
    wheel="tree_sitter_javascript",
    definitions=f"{_JAVASCRIPT_DEFINITIONS} (field_definition) @assigned",
    leaves=f"{_JAVASCRIPT_LEAVES} (jsx_text) @string",
)
_TYPESCRIPT_DEFINITIONS = f"""{_JAVASCRIPT_DEFINITIONS}
[(abstract_class_declaration) (interface_declaration) (enum_declaration) (type_alias_declaration)] @class
[(function_signature) (method_signature) (abstract_method_signature)] @function
(public_field_definition) @assigned
[(internal_module) (module)] @module
"""
_TYPESCRIPT_LEAVES = f"{_JAVASCRIPT_LEAVES} (type_identifier) @use"
_TYPESCRIPT = Tags(
    wheel="tree_sitter_typescript",
    function="language_typescript",
    definitions=_TYPESCRIPT_DEFINITIONS,
    leaves=_TYPESCRIPT_LEAVES,
)
_TSX = Tags(
    wheel="tree_sitter_typescript",
    function="language_tsx",
    definitions=_TYPESCRIPT_DEFINITIONS,
    leaves=f"{_TYPESCRIPT_LEAVES} (jsx_text) @string",
)
_BY_LANGUAGE = {
    "C": _C, "C++": _CPP, "C#": _CSHARP, "Go": _GO, "Java": _JAVA, "JavaScript": _JAVASCRIPT, "Kotlin": _KOTLIN,
    "PHP": _PHP, "Ruby": _RUBY, "Rust": _RUST, "TypeScript": _TYPESCRIPT,
}  # fmt: skip
TAGS = {suffix: _BY_LANGUAGE[language_of(f"a{suffix}")] for suffix in SUFFIXES if suffix != PYTHON} | {".tsx": _TSX}
