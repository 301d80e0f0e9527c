"""The words of evidence: one fact, one word, one token of the shipped vocabulary. Pure.

The adapters were trained on exactly these words, so a change here needs new adapters. A fact is a word and, where it
has a size, a digit or two: ``body7`` means that the candidate's body matches the task seven ninths as well as the best
body of the tree does. A model whose vocabulary has these words as special tokens reads each as one token, which no
text from outside can spell; see ``cascade.prompt``.
"""

from __future__ import annotations

SIZED = {
    # what the ranker says, in steps of half a unit of log odds
    "matters": 23,
    "changes": 23,
    # words of the task, as BM25 over the best of the tree, in ninths
    "body": 9,
    "title": 9,
    "covers": 9,
    "rare": 9,
    "head": 9,
    "literals": 9,
    "doc": 9,
    "idents": 9,
    "code": 9,
    "file": 9,
    "path": 9,
    "within": 9,
    "mates": 9,
    "callers": 9,
    "callees": 9,
    "history": 9,
    "churn": 9,
    # mentions
    "named": 9,
    "traced": 9,
    "located": 9,
    # ties of a file to the seeds
    "together": 9,
    "ratio": 9,
    "never": 9,
    # form
    "size": 9,
    "users": 9,
    "uses": 9,
    "twins": 9,
}
"""Word -> its largest digit. A fact of size 0 is not said."""

PLAIN = ("spelled", "owned", "seed", "imports", "imported", "beside", "alike", "apart", "bodiless")
"""Facts without a size."""

RANKS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
"""A rank is said as the first of these that it does not exceed; a larger one is not said."""

FACTS: tuple[str, ...] = (
    *PLAIN,
    *(f"rank{edge}" for edge in RANKS),
    *(f"{word}{size}" for word, most in SIZED.items() for size in range(most + 1)),
)
"""Every word of evidence; their order is that of the tokens in the shipped vocabulary."""
