"""Prompts as a trie: task, group, item, perhaps the item's text, question; each segment tokenised once. Pure.

A prompt is never one string. It is a path of nodes, and two prompts that begin alike share the
nodes they begin with, so a backend can compute each node once. Text from outside (a task, a file
name, a docstring) is tokenised apart from the template around it, so that it can neither become a
special token nor break the layout, however it is cut. Words of evidence (``cascade.evidence.facts``) are special
tokens where the vocabulary has them, and otherwise plain words behind a mark that text from outside cannot write.
"""

from cascade.prompt.builder import Piece, PromptBuilder, render
from cascade.prompt.formats import FORMATS, PAIR, PromptFormat, prompt_format
from cascade.prompt.labels import Labels, labels_for
from cascade.prompt.limits import Limits
from cascade.prompt.lines import BETWEEN, MARK, group_text, is_fact, item_text, one_line, seeds_text
from cascade.prompt.node import Node, Segment
from cascade.prompt.tokenizer import Tokenizer, last_place

__all__ = [
    "BETWEEN", "FORMATS", "MARK", "PAIR", "Labels", "Limits", "Node", "Piece", "PromptBuilder", "PromptFormat",
    "Segment", "Tokenizer", "group_text", "is_fact", "item_text", "labels_for", "last_place", "one_line",
    "prompt_format", "render", "seeds_text",
]  # fmt: skip
